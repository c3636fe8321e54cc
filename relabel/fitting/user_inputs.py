"""The inputs of a person's own network: made by their transform, and kept while it can be trusted.

Inputs are tensors of any type and shape, made batch by batch or stored example by example.

Nobody can know that a transform gives the same again: it may read a file that has changed, or throw
dice. So the cache is named after everything that is known to decide its content (the examples, the
person's file and those it imports from beside it, all installed packages), and some examples are
made anew whenever it is opened: where one differs from what is stored, all are made again. Imports
torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from relabel.features.encoding import drop_caches
from relabel.features.records import Content
from relabel.fitting.stored import ProjectExamples, SplitExamples
from relabel.models.user.code import hash_neighbours
from relabel.models.user.inputs import OwnEncoder, check_repeatable
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.text import Split
from tracin_core.errors import TracInError
from tracin_core.files import HEADER_ERRORS, atomic_folder, flush_to_disk, naming
from tracin_core.gradients.nested import find_tensors

ABOUT_FILE = "about.json"


class NotStorableError(TracInError):
    """Inputs that are not of one structure, of no type that arrays have, or too large."""


class StoredInputs:
    """Inputs in memory-mapped files, one for each tensor of an input.

    Examples lie one behind the other, each with a shape of its own, so texts of different lengths
    take no more room than they need.
    """

    def __init__(self, folder: Path) -> None:
        """Open what ``store_inputs`` wrote.

        Raises:
            OSError: If a file is missing.
            ValueError: If one is not whole.
        """
        self._folder = folder
        about = json.loads((folder / ABOUT_FILE).read_bytes())
        self._keys: list[str] | None = about["keys"]
        self._is_tuple: bool = about["tuple"]
        self._shapes = [np.load(folder / f"{n}.npy") for n in range(len(about["types"]))]
        self._ends = [np.cumsum(shapes.prod(axis=1)) for shapes in self._shapes]
        self._numbers = [
            _map_numbers(folder / f"{n}.bin", np.dtype(name), int(ends[-1]) if len(ends) else 0)
            for n, (name, ends) in enumerate(zip(about["types"], self._ends, strict=True))
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredInputs, (self._folder,)  # another process maps the files itself

    def __len__(self) -> int:
        return len(self._shapes[0])

    def read(self, position: int) -> Any:
        """Return the input of one example, as the transform made it."""
        tensors = []
        for shapes, ends, numbers in zip(self._shapes, self._ends, self._numbers, strict=True):
            start = int(ends[position - 1]) if position else 0
            found = np.array(numbers[start : int(ends[position])])
            tensors.append(torch.from_numpy(found).reshape(tuple(shapes[position].tolist())))
        if self._keys is not None:
            return dict(zip(self._keys, tensors, strict=True))
        return tuple(tensors) if self._is_tuple else tensors[0]


def store_inputs(folder: Path, inputs: Iterable[Any], *, most_bytes: int) -> None:
    """Write inputs into a folder, which is there whole or not at all.

    Args:
        folder: Theirs alone.
        inputs: Of one or more examples, by position.
        most_bytes: That they may take.

    Raises:
        NotStorableError: If they do not fit; then nothing is kept.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as building:
        about, shapes = _write_numbers(building, inputs, most_bytes)
        for number, rows in enumerate(shapes):
            np.save(building / f"{number}.npy", np.array(rows, dtype=np.int64))
        (building / ABOUT_FILE).write_text(json.dumps(about), encoding="utf-8")
        for path in building.iterdir():
            flush_to_disk(path)


def list_arrays(made: Any) -> list[npt.NDArray[Any]]:
    """Return the tensors of an input as arrays, in order.

    Raises:
        NotStorableError: If they are nested, or of a type that arrays do not have.
    """
    if isinstance(made, Mapping):
        tensors: Sequence[Any] = list(made.values())
    else:
        tensors = made if isinstance(made, tuple) else [made]
    return [_as_array(tensor) for tensor in tensors]


def _as_array(tensor: Any) -> npt.NDArray[Any]:
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
        raise NotStorableError(f"Found a {type(tensor).__name__}, expected a plain tensor.")
    try:
        return tensor.as_subclass(Tensor).cpu().contiguous().numpy()
    except (TypeError, RuntimeError) as error:  # such as bfloat16
        raise NotStorableError(f"Found {tensor.dtype}, which arrays do not have.") from error


def _write_numbers(
    folder: Path, inputs: Iterable[Any], most_bytes: int
) -> tuple[dict[str, Any], list[list[tuple[int, ...]]]]:
    """Write the numbers; return what they are, and the shape of every example's every tensor."""
    about: dict[str, Any] = {}
    shapes: list[list[tuple[int, ...]]] = []
    num_bytes = 0
    with ExitStack() as opened:
        for made in inputs:
            arrays = list_arrays(made)
            found = _describe(made, arrays)
            if not about:
                about, shapes = found, [[] for _ in arrays]
                paths = [folder / f"{number}.bin" for number in range(len(arrays))]
                files = [opened.enter_context(path.open("wb")) for path in paths]
            if found != about:
                raise NotStorableError(f"Found {found} after {about}; expected the same for all.")
            num_bytes += sum(array.nbytes for array in arrays)
            if num_bytes > most_bytes:
                raise NotStorableError(f"Expected at most {most_bytes} bytes.")
            for array, file, rows in zip(arrays, files, shapes, strict=True):
                with naming(Path(file.name)):
                    file.write(array.tobytes())
                rows.append(array.shape)
    return about, shapes


def _describe(made: Any, arrays: Sequence[npt.NDArray[Any]]) -> dict[str, Any]:
    return {
        "keys": list(made) if isinstance(made, Mapping) else None,
        "tuple": isinstance(made, tuple),
        "types": [array.dtype.str for array in arrays],
        "axes": [array.ndim for array in arrays],
    }


def _map_numbers(path: Path, kind: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    """Map a file of numbers into memory; an empty one cannot be mapped."""
    if path.stat().st_size != count * kind.itemsize:
        raise ValueError(f"{path} is not whole")
    mapped = np.memmap(path, dtype=kind, mode="r") if count else np.zeros(0, dtype=kind)
    return mapped.view(np.ndarray)  # whose parts are cheaper to take than those of a memmap


class ContentSource(Protocol):
    """Reads what examples are from wherever they are kept."""

    def read(self, positions: Iterable[int]) -> Iterator[Content]:
        """Yield the contents at some positions, in ascending order, each once."""
        ...


class OwnExamples:
    """One split: inputs through the person's transform, and targets as their network has them.

    Args:
        encoder: What makes the inputs.
        source: Where the contents are.
        targets: Class indices, or numbers in their own unit; shape ``(N,)``.
        digest: Stands for contents and targets.
        chosen: Positions that belong to it; None for all.
        stored: What the transform made of all positions, where that is kept.
    """

    def __init__(
        self,
        encoder: OwnEncoder,
        source: ContentSource,
        targets: npt.NDArray[Any],
        *,
        digest: str = "",
        chosen: npt.NDArray[np.intp] | None = None,
        stored: StoredInputs | None = None,
    ) -> None:
        self._stored = stored
        self._encoder = encoder
        self._source = source
        self._positions = np.arange(len(targets)) if chosen is None else chosen
        own_targets = scale_targets(encoder, targets)
        self.targets = own_targets[torch.from_numpy(self._positions)]
        self.digest = digest

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        (made,) = self._read([int(self._positions[index])])
        return made, self.targets[index]

    def read_batch(self, indices: Tensor) -> tuple[Any, Tensor]:
        """Return the inputs and targets of several positions, B rows each, in their order."""
        positions = self._positions[indices.numpy()].tolist()
        return self._encoder.join(self._read(positions), positions), self.targets[indices]

    def _read(self, positions: list[int]) -> list[Any]:
        """Return the inputs at some positions, in their order."""
        if self._stored is not None:
            return [self._stored.read(position) for position in positions]
        ascending = sorted(set(positions))
        contents = zip(ascending, self._source.read(ascending), strict=True)
        made = {at: self._encoder.encode_at(content, at) for at, content in contents}
        return [made[position] for position in positions]


def scale_targets(encoder: OwnEncoder, targets: npt.NDArray[Any]) -> Tensor:
    """Return targets as the person's training had them: class indices, or scaled numbers."""
    if encoder.config.task == "classification":
        return torch.from_numpy(np.asarray(targets, dtype=np.int64))
    numbers = np.asarray(targets, dtype=np.float64)
    return torch.from_numpy((numbers - encoder.own.target_mean) / encoder.own.target_std).float()


# Both splits together, and never more than this part of what is free on the disk.
MOST_BYTES = 4_000_000_000
PART_OF_FREE = 4
# Examples that are made anew when a cache is opened, spread evenly, and those that tell
# beforehand how large it will be.
PROBES, SIZED = 16, 4
REPORT_EVERY = 128  # examples
_LOGGER = logging.getLogger(__name__)


def open_own_caches(
    folder: Path,
    encoder: OwnEncoder,
    examples: ProjectExamples,
    on_progress: OnProgress = ignore_progress,
    *,
    most_bytes: int = MOST_BYTES,
) -> dict[Split, StoredInputs]:
    """Return the inputs that are kept of each split, made now where they are not there yet.

    Args:
        folder: ``projects/<slug>/encoded``; caches of other networks in it are deleted.
        encoder: The person's transform.
        examples: Both splits.
        on_progress: Told how many examples are encoded.
        most_bytes: That both may take.

    Returns:
        Without a split whose inputs are too large or of no storable type: these are made
        whenever they are read.

    Raises:
        ConfigurationError: If the transform raises, or does not make the same twice.
        InputError: If an image is damaged.
    """
    paths = {split: folder / name_cache(encoder, part) for split, part in examples.splits.items()}
    contents = (f"{part.split} {part.content_hash}" for part in examples.splits.values())
    drop_caches(folder, (path.name for path in paths.values()), of_contents=contents)
    found: dict[Split, StoredInputs] = {}
    done, total = 0, sum(examples.counts.values())
    for split, part in examples.splits.items():
        stored = _open(paths[split], encoder, part)
        if stored is None and len(part):
            report = _Report(on_progress, done, total)
            stored = _make(paths[split], encoder, part, most_bytes, report)
        if stored is not None:
            found[split] = stored
            most_bytes -= _count_bytes(paths[split])
        done += len(part)
    return found


def name_cache(encoder: OwnEncoder, examples: SplitExamples) -> str:
    """Return a name that stands for everything that is known to decide what inputs are."""
    packages = sorted(f"{one.metadata['Name']} {one.version}" for one in distributions())
    made_from = {
        "examples": [examples.split, examples.content_hash],
        "model": encoder.config.to_json(),
        "encoder": encoder.to_json(),
        "beside": hash_neighbours(),
        "python": platform.python_version(),
        "packages": packages,
    }
    text = json.dumps(made_from, sort_keys=True)
    return f"own-{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"


def _open(path: Path, encoder: OwnEncoder, examples: SplitExamples) -> StoredInputs | None:
    """Open a cache that is whole and holds what the transform makes today."""
    try:
        stored = StoredInputs(path)
    except (OSError, ValueError, EOFError, *HEADER_ERRORS):
        return None
    if len(stored) != len(examples):
        return None
    positions = _spread(len(examples), PROBES)
    for position, content in zip(positions, examples.reader.read(positions), strict=True):
        if not _are_equal(stored.read(position), encoder.encode_at(content, position)):
            _LOGGER.info("The transform makes other inputs than before; all are made again.")
            return None
    return stored


class _Report:
    """Tells how many examples of both splits are encoded."""

    def __init__(self, on_progress: OnProgress, before: int, total: int) -> None:
        self._on_progress, self._before, self._total = on_progress, before, total

    def __call__(self, done: int) -> None:
        self._on_progress(Progress("encoding the examples", self._before + done, self._total))


def _make(
    path: Path, encoder: OwnEncoder, examples: SplitExamples, most_bytes: int, report: _Report
) -> StoredInputs | None:
    """Encode a split into a cache; None where that cannot or should not be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    most_bytes = min(most_bytes, shutil.disk_usage(path.parent).free // PART_OF_FREE)
    try:
        if _estimate_bytes(encoder, examples) > most_bytes:
            raise NotStorableError(f"Expected at most {most_bytes} bytes.")
        store_inputs(path, _encode_all(encoder, examples, report), most_bytes=most_bytes)
    except NotStorableError as error:
        _LOGGER.info("The inputs of the %s examples are not kept. %s", examples.split, error)
        return None
    return StoredInputs(path)


def _estimate_bytes(encoder: OwnEncoder, examples: SplitExamples) -> float:
    positions = _spread(len(examples), SIZED)
    sizes = []
    for position, content in zip(positions, examples.reader.read(positions), strict=True):
        made = encoder.encode_at(content, position)
        if encoder.own.collate is not None and any(
            type(t) is not Tensor for t in find_tensors(made)
        ):
            raise NotStorableError("Found tensors of another type, which collate may need.")
        sizes.append(sum(array.nbytes for array in list_arrays(made)))
    return len(examples) * sum(sizes) / len(sizes)


def _encode_all(encoder: OwnEncoder, examples: SplitExamples, report: _Report) -> Iterator[Any]:
    probes = set(_spread(len(examples), PROBES))
    for position, content in enumerate(examples.contents()):
        if position in probes:
            check_repeatable(encoder, content)
        yield encoder.encode_at(content, position)
        if (position + 1) % REPORT_EVERY == 0 or position + 1 == len(examples):
            report(position + 1)


def _spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` positions, spread evenly."""
    places = np.linspace(0, count - 1, min(most, count)).round().astype(int)
    return sorted({int(place) for place in places})


def _are_equal(stored: Any, made: Any) -> bool:
    """Return whether two inputs are the same bit by bit."""
    if not isinstance(made, type(stored)):
        return False
    if isinstance(made, dict) and list(stored) != list(made):
        return False
    try:
        first, second = list_arrays(stored), list_arrays(made)
    except NotStorableError:
        return False
    return len(first) == len(second) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(first, second, strict=True)
    )


def _count_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
