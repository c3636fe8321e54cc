"""Images: read safely whoever made them, and encoded as the numbers that a network takes.

An image is checked before it is decoded, and an error says what is wrong with it. Threads of a
process share `DECODING`, a budget of pixels being decoded: a picture of 50 million pixels takes up
to 1.6 GB. A server answers forty requests at once, and an import looks at four pictures at once:
without a bound together they would take more than the machine has. Small pictures never wait.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from tracin_core.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image
    from torch import Tensor


# Pixels decoded at the same time: one picture of the largest size, or many small ones.
PIXELS_DECODED = 50_000_000


class PixelBudget:
    """A number of pixels that are given out and given back."""

    def __init__(self, pixels: int) -> None:
        self._free = self._all = pixels
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Wait until so many pixels are free, and hold them; more than all count as all."""
        wanted = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


DECODING = PixelBudget(PIXELS_DECODED)


# Pillow reads dozens of formats, some by starting other programs (EPS); these are the ones
# that people have photographs and scans in.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_FORMAT_WORDS = {"WEBP": "WebP", "HEIF": "HEIC"}
# How the photographs of telephones begin, after their first four bytes.
_HEIF_STARTS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc", b"ftypheim", b"ftypmsf1")
MAX_BYTES = 25 * 1024 * 1024  # above any camera's JPEG
MAX_PIXELS = 50_000_000  # 150 MB as RGB in memory; above any telephone's camera in 2026
# What a file of each format is called.
SUFFIXES = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tiff",
    "GIF": ".gif",
    "HEIF": ".heic",
    "AVIF": ".avif",
}
_WHITE = (255, 255, 255, 255)
# How Pillow calls images without colours: black and white, grey, with transparency, or deep.
_GREY_MODES = ("1", "L", "LA", "La", "I", "F")


@dataclass(frozen=True)
class ImageHeader:
    """What an image's first bytes say.

    Attributes:
        format: One of those in ``SUFFIXES``.
        width, height: Pixels, before the camera's rotation is applied.
    """

    format: str
    width: int
    height: int


def inspect_image(data: bytes) -> ImageHeader:
    """Read an image's header, which takes no time; refuse what ``read_image`` refuses by it.

    Raises:
        InputError: If the data is empty, too large, no image, or of another format.
    """
    return _header_of(_open(data))


def _header_of(image: Image) -> ImageHeader:
    # Some JPEG files of cameras (MPO) name themselves otherwise.
    name = image.format if image.format in SUFFIXES else "JPEG"
    return ImageHeader(name or "JPEG", image.width, image.height)


def read_with_header(data: bytes, *, least: int) -> tuple[ImageHeader, Image]:
    """Decode an image as RGB, and return it with what its first bytes say; see ``read_image``.

    Args:
        data: The file's content.
        least: Pixels of the longer side that are enough for whoever shows it.

    Raises:
        InputError: As ``read_image``.
    """
    image = _open(data)
    # Before it is decoded smaller, which changes what it says of its size.
    return _header_of(image), _decode(image, channels=3, least=least)


def read_image(data: bytes, *, channels: int | None = 3, least: int | None = None) -> Image:
    """Decode an image as grey or RGB with 8 bits a channel.

    The first frame of an animation is taken, the camera's rotation (EXIF) is applied, transparent
    parts become white, 16 bits become 8.

    Args:
        data: The file's content.
        channels: 1 for grey, 3 for RGB, None for grey where the file has no colours.
        least: Pixels of the longer side that are enough for whoever shows it: a JPEG may then be
            decoded smaller, which takes a fraction of the time. None for the whole image.

    Returns:
        A Pillow image of mode "L" or "RGB".

    Raises:
        InputError: If the data is empty, too large, no image, of another format, or damaged.
    """
    return _decode(_open(data), channels=channels, least=least)


def _decode(image: Image, *, channels: int | None, least: int | None) -> Image:
    from PIL import ImageOps

    try:
        if least is not None:
            share = least / max(image.size)
            image.draft(None, (int(image.width * share) or 1, int(image.height * share) or 1))
        with DECODING.reserve(image.width * image.height), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a broken EXIF block is no reason to refuse the image
            image.seek(0)
            image.load()
            chosen = channels or (1 if image.mode.split(";")[0] in _GREY_MODES else 3)
            return _flatten(ImageOps.exif_transpose(image), chosen)
    # Pillow's decoders answer damaged data with a whole family of exceptions.
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError) as error:
        raise InputError(
            f"The {image.format} image cannot be decoded ({error}); it is damaged or cut off. "
            "Expected a whole image: export or download it again."
        ) from error


@dataclass(frozen=True)
class Depth:
    """What is lost or doubtful where an image becomes one of 8 bits.

    Attributes:
        low, high: Of the samples of a deep grey image; None of all others.
        is_real: Whether those are numbers with fractions.
        brightest: Of an image of 16 bits a colour, whose lower 8 bits are not read: 0 to 255.
        has_frames: Whether it is an animation, or a file of several pages.
        is_empty: Whether all of it is transparent, so that nothing is seen.
    """

    low: float | None = None
    high: float | None = None
    is_real: bool = False
    brightest: int | None = None
    has_frames: bool = False
    is_empty: bool = False


def measure_depth(data: bytes) -> Depth:
    """Measure what an image holds beyond one picture of 8 bits; decoded only if it is deep.

    Raises:
        InputError: As ``read_image``.
    """
    image = _open(data)
    is_deep_colour = image.mode in ("RGB", "RGBA", "LA") and any(
        ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
    )
    has_frames = bool(getattr(image, "is_animated", False))
    if is_deep_colour:
        brightest = read_image(data).convert("L").getextrema()[1]
        return Depth(brightest=int(brightest), has_frames=has_frames)  # type: ignore[arg-type]
    if not _is_deep_grey(image):
        return Depth(has_frames=has_frames, is_empty=_is_transparent(image))
    samples = _read_samples(image)
    low, high = float(samples.min(initial=0)), float(samples.max(initial=0))
    return Depth(low, high, image.mode == "F", None, has_frames)


@dataclass(frozen=True)
class DeepRange:
    """What is black and what is white in the deep grey pictures of a data set.

    Attributes:
        whole: Of those whose samples are whole numbers; None for 0 and 65,535.
        real: Of those with fractions.
    """

    whole: tuple[float, float] | None = None
    real: tuple[float, float] | None = None


def rescale_deep(data: bytes, range: DeepRange) -> bytes | None:
    """Return a deep grey image as a PNG of 16 bits, whose black and white are those of its range.

    Args:
        data: The file's content.
        range: What becomes black (0) and white (65,535).

    Returns:
        The PNG; None where the image is none of deep grey, or has that range already.
    """
    import numpy as np
    from PIL import Image as Pillow

    image = _open(data)
    chosen = range.real if image.mode == "F" else range.whole
    if chosen is None or not _is_deep_grey(image):
        return None
    low, white = chosen
    samples = (_read_samples(image) - low) * (65535.0 / (white - low))
    deep = np.clip(np.round(samples), 0, 65535).astype(np.uint16)
    buffer = BytesIO()
    Pillow.fromarray(deep).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _is_transparent(image: Image) -> bool:
    """Return whether nothing of an image is seen, whatever colours lie under it."""
    if "A" not in image.getbands():
        return False
    image.seek(0)
    return image.getchannel("A").getextrema()[1] == 0


def _is_deep_grey(image: Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _read_samples(image: Image) -> npt.NDArray[np.float64]:
    """Return the samples of a deep grey image, the camera's rotation applied, shape ``(H, W)``."""
    import numpy as np
    from PIL import ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a broken EXIF block is no reason to refuse the image
        image.seek(0)
        image.load()
        samples = np.asarray(ImageOps.exif_transpose(image), dtype=np.float64)
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)


def _open(data: bytes) -> Image:
    """Read the header only, and refuse what should not be decoded."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise InputError(f"The image is empty (0 bytes). Choose a {name_formats()} file.")
    if len(data) > MAX_BYTES:
        raise InputError(
            f"The image has {len(data) / 2**20:.0f} MB, expected at most "
            f"{MAX_BYTES / 2**20:.0f} MB. Save it smaller, for example as JPEG."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            image = Image.open(BytesIO(data), formats=list_formats())
    except Image.DecompressionBombError as error:
        raise _too_many_pixels("far more") from error
    except UnidentifiedImageError as error:
        if (_is_heif(data) or _is_avif(data)) and not _say_decoder(data):
            raise InputError(
                f"The file begins as {_describe(data)} and cannot be read further. Expected a "
                "whole image: export or download it again, or convert it to PNG or JPEG."
            ) from error
        raise InputError(
            f"The file is {_describe(data)}, expected a {name_formats()} image. "
            f"{_say_decoder(data)}Convert it to PNG or JPEG and try again."
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError) as error:
        raise InputError(
            f"The image's header cannot be read ({error}). Expected a whole {name_formats()} "
            "image: export or download it again."
        ) from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_many_pixels(f"{image.width:,} x {image.height:,}")
    return image


@cache
def list_formats() -> tuple[str, ...]:
    """Return the formats, as Pillow calls them, that can be read in this process."""
    from PIL import features

    found = list(FORMATS)
    if find_spec("pillow_heif") is not None:
        from pillow_heif import register_heif_opener

        register_heif_opener(thumbnails=False)
        found.append("HEIF")
    if features.check("avif"):
        found.append("AVIF")
    return tuple(found)


def name_formats() -> str:
    """Return the formats that can be read in this process in words, and how to add the rest."""
    *first, last = (_FORMAT_WORDS.get(name, name) for name in list_formats())
    adds = "" if "HEIF" in list_formats() else " (HEIC too with tracin-relabel[heic])"
    return f"{', '.join(first)} or {last}{adds}"


def _is_heif(data: bytes) -> bool:
    return data[4:12] in _HEIF_STARTS


def _is_avif(data: bytes) -> bool:
    return data[4:12] in (b"ftypavif", b"ftypavis")


def _say_decoder(data: bytes) -> str:
    """Return how to get what reads an image, where that is not installed."""
    if _is_heif(data) and "HEIF" not in list_formats():
        return "Install what reads it: pip install 'tracin-relabel[heic]'. Or: "
    if _is_avif(data) and "AVIF" not in list_formats():
        return "Install a newer Pillow, which reads it: pip install -U pillow. Or: "
    return ""


def _too_many_pixels(found: str) -> InputError:
    return InputError(
        f"The image has {found} pixels, expected at most {MAX_PIXELS / 1e6:.0f} million in all. "
        "Make it smaller and try again."
    )


def _flatten(image: Image, channels: int) -> Image:
    """Return the image as "L" or "RGB": deep colours scaled, transparency over white."""
    from PIL import Image as Pillow

    if image.mode.startswith("I") or image.mode == "F":
        image = _scale_to_8_bits(image)
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    if has_alpha:
        rgba = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", rgba.size, _WHITE), rgba)
    return image.convert("L" if channels == 1 else "RGB")


def _scale_to_8_bits(image: Image) -> Image:
    """Return a deep grey image with 8 bits.

    Integers are 16 bit samples, where 65,535 is white. Floating point has no agreed white, so
    its own range is stretched unless it is that of a fraction or of 8 bits.
    """
    import numpy as np
    from PIL import Image as Pillow

    samples = np.asarray(image, dtype=np.float64)
    if image.mode == "F":
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = samples.min(initial=0.0), samples.max(initial=0.0)
        white = next((w for w in (1.0, 255.0) if low >= 0 and high <= w), high - low)
        samples = (samples - min(low, 0.0)) * (255.0 / white)
    else:
        samples = samples / 257.0
    return Pillow.fromarray(np.clip(np.round(samples), 0, 255).astype(np.uint8))


def _describe(data: bytes) -> str:
    """Name what the first bytes look like."""
    start = data[:512].lstrip().lower()
    if b"<svg" in start:
        return "an SVG drawing"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if start.startswith(b"%pdf"):
        return "a PDF document"
    if _is_heif(data):
        return "a HEIC photograph"
    if _is_avif(data):
        return "an AVIF image"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS (`git lfs pull` fetches the image)"
    if start.startswith(b"%!ps"):
        return "a PostScript document"
    return f"no image that can be recognised (it begins with {data[:8]!r})"


# Enough of an image set to know its mean brightness to well under a percent.
MAX_IMAGES_MEASURED = 2000
MAX_IMAGE_SIDE = 4096  # pixels; a network for more would not fit any machine of a reviewer


@dataclass(frozen=True, kw_only=True)
class ImageEncoder:
    """How an image file becomes a tensor.

    Attributes:
        height: Pixels of the network's input; other images are resized to it.
        width: The same.
        channels: 1 for grey, 3 for RGB.
        mean: Mean brightness of the train images, 0 to 1, subtracted.
        std: Standard deviation of their brightness, divided by.
    """

    # Examples that are written at a time, and between two reports.
    rows_at_once: ClassVar[int] = 512

    height: int
    width: int
    channels: int = 1
    mean: float = 0.5
    std: float = 0.25

    def __post_init__(self) -> None:
        sides = (self.height, self.width)
        if not all(1 <= s <= MAX_IMAGE_SIDE for s in sides) or self.channels not in (1, 3):
            raise ConfigurationError(
                f"Found an image input of {self.height} x {self.width} pixels with "
                f"{self.channels} channels, expected sides from 1 to {MAX_IMAGE_SIDE} and "
                "1 channel (grey) or 3 (RGB). Correct the encoder's settings."
            )
        if not self.std > 0:
            raise ConfigurationError(
                f"Found a standard deviation of {self.std}, expected a positive number. "
                "Use 1 for images that are all alike."
            )

    @classmethod
    def fit(
        cls, images: Iterable[bytes], *, height: int, width: int, channels: int = 1
    ) -> ImageEncoder:
        """Measure mean and standard deviation of the train images (of the first 2,000)."""
        import numpy as np

        shape = cls(height=height, width=width, channels=channels)
        values = [shape.read(data) for data in islice(images, MAX_IMAGES_MEASURED)]
        if not values:
            return shape
        stacked = np.stack(values).astype(np.float64) / 255.0
        # A set of uniform images has no spread; 1/255 is the smallest a real one can have.
        spread = max(float(stacked.std()), 1 / 255)
        return cls(
            height=height,
            width=width,
            channels=channels,
            mean=round(float(stacked.mean()), 6),
            std=round(spread, 6),
        )

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Return the shape of what ``read`` returns."""
        return (self.channels, self.height, self.width)

    @property
    def stored_type(self) -> str:
        """Return the number type of what ``read`` returns, as NumPy names it."""
        return "uint8"

    def encode(self, data: bytes) -> Tensor:
        """Return an image file as a tensor, float32, shape ``(channels, height, width)``.

        Raises:
            InputError: If it is no image, too large or damaged.
        """
        import torch

        return self.to_inputs(torch.from_numpy(self.read(data)))

    def read(self, data: bytes) -> Any:
        """Return brightness 0..255, a quarter of the input's size, shape ``stored_shape``.

        Raises:
            InputError: If it is no image, too large or damaged.
        """
        import numpy as np
        from PIL import Image

        image = read_image(data, channels=self.channels)
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        pixels = np.array(image, dtype=np.uint8).reshape(self.height, self.width, self.channels)
        return pixels.transpose(2, 0, 1).copy()

    def read_many(self, images: Sequence[bytes]) -> Any:
        """Return several image files as ``read`` returns each, shape ``(B, *stored_shape)``.

        Raises:
            InputError: If one cannot be read.
        """
        import numpy as np

        return np.stack([self.read(data) for data in images])

    def to_inputs(self, stored: Tensor) -> Tensor:
        """Return what was read, one example or a batch of them, as the network takes it."""
        import torch

        return (stored.to(torch.float32) / 255.0 - self.mean) / self.std

    def to_json(self) -> dict[str, Any]:
        """Return what ``encoder_from_json`` makes an equal encoder of."""
        return {"kind": "image", **asdict(self)}

    def cache_identity(self) -> dict[str, Any]:
        """Return what decides what ``read`` returns: not what is done to it afterwards."""
        shape = {"height": self.height, "width": self.width, "channels": self.channels}
        return {"kind": "image"} | shape
