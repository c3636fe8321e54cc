from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from relabel.features import image as image_module
from relabel.features.image import read_image
from tracin_core.errors import InputError


def save(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def grey(value: int = 128, size: tuple[int, int] = (6, 4)) -> Image.Image:
    return Image.new("L", size, value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_every_promised_format_is_read(form):
    image = read_image(save(Image.new("RGB", (6, 4), (200, 100, 50)), form))
    assert (image.mode, image.size) == ("RGB", (6, 4))
    np.testing.assert_allclose(np.asarray(image)[0, 0], (200, 100, 50), atol=6)  # JPEG is lossy


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_grey_or_rgb(mode, channels):
    form = "TIFF" if mode in ("CMYK", "PA") else "PNG"
    source = grey(255).convert("RGBA").convert("P" if mode == "PA" else mode)
    image = read_image(save(source, form), channels=channels)
    assert image.mode == ("L" if channels == 1 else "RGB")
    assert np.asarray(image).min() > 250


def test_transparent_parts_become_white():
    image = read_image(save(Image.new("RGBA", (2, 2), (0, 0, 0, 0))), channels=1)
    assert np.asarray(image).min() == 255


def test_a_palette_with_a_transparent_colour_becomes_white_there():
    palette = grey(0).convert("P")
    assert np.asarray(read_image(save(palette, "GIF", transparency=0), channels=1)).min() == 255


def test_sixteen_bits_become_eight():
    samples = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    for form in ("PNG", "TIFF"):
        image = read_image(save(Image.fromarray(samples), form), channels=1)
        assert np.asarray(image).tolist() == [[0, 100, 255]]


def test_floating_point_is_stretched_and_nan_is_black():
    samples = np.array([[0.0, 0.5, 1.0, np.nan]], dtype=np.float32)
    image = read_image(save(Image.fromarray(samples), "TIFF"), channels=1)
    assert np.asarray(image).tolist() == [[0, 128, 255, 0]]


def test_the_camera_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    assert read_image(save(grey(size=(6, 4)), "JPEG", exif=exif)).size == (4, 6)


def test_the_first_frame_of_an_animation_is_taken():
    data = save(grey(0), "GIF", save_all=True, append_images=[grey(255)])
    assert np.asarray(read_image(data, channels=1)).max() == 0


REFUSED = {
    "empty": (b"", "empty"),
    "svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing"),
    "web page": (b"<!DOCTYPE html><html></html>", "web page"),
    "pdf": (b"%PDF-1.7 ...", "PDF"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "PostScript"),
    "text": ("\u00fcber".encode(), "no image"),
    "cut off": (save(Image.effect_noise((64, 64), 50))[:600], "damaged or cut off"),
}


@pytest.mark.parametrize(("data", "found"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_whole_image_is_refused_with_the_reason(data, found):
    with pytest.raises(InputError, match=found):
        read_image(data)


def test_too_many_bytes_are_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr(image_module, "MAX_BYTES", 50)
    with pytest.raises(InputError, match="at most"):
        read_image(save(grey()))


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side):
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    data += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT"
    with pytest.raises(InputError, match="million in all"):
        read_image(data + bytes(8))


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"]))
def test_any_bytes_give_an_image_or_an_input_error(data, start):
    try:
        image = read_image(start + data)
    except InputError:
        return
    assert image.mode == "RGB"


@given(position=st.integers(0, 400), value=st.integers(0, 255))
def test_a_damaged_file_gives_an_image_or_an_input_error(position, value):
    data = bytearray(save(Image.linear_gradient("L").resize((16, 16))))
    data[position % len(data)] = value
    try:
        image = read_image(bytes(data))
    except InputError:
        return
    assert image.mode == "RGB"
