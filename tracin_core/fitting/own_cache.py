"""What a person's transform made of the examples is kept, as long as it can be trusted.

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
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tracin_core.array_headers import HEADER_ERRORS
from tracin_core.examples.cache import drop_caches
from tracin_core.fitting.own_stored import (
    NotStorableError,
    StoredInputs,
    list_arrays,
    store_inputs,
)
from tracin_core.fitting.stored_examples import ProjectExamples, SplitExamples
from tracin_core.gradients.structure import find_tensors
from tracin_core.models.own_code import hash_neighbours
from tracin_core.models.own_inputs import OwnEncoder, check_repeatable
from tracin_core.terms import Split
from tracin_core.work.progress import OnProgress, Progress, ignore_progress

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
    drop_caches(folder, (path.name for path in paths.values()))
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
    """Tell whether two inputs are the same bit by bit."""
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
