"""What is kept of an index in parts: ``parts.json``, written when every part is there.

A part is a folder beside it that ``build_index`` wrote. A folder that the record does not name is
no part: it was left by a process that was killed while it built one.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tracin_core.errors import RetrievalError
from tracin_core.files import write_text
from tracin_core.retrieval.record import PARTS_FILE, Kind, read_record

SCHEMA_VERSION = 1
# Nothing else is opened, whatever a record says.
_PART_NAME = re.compile(r"part-\d{5}\Z")


def name_part(number: int) -> str:
    """Return the name of a part's folder."""
    return f"part-{number:05d}"


@dataclass(frozen=True, kw_only=True)
class PartRecord:
    """What is known of a part without opening it.

    Attributes:
        folder: Its name.
        kind: How it is searched where not all are searched exactly.
        rows: Number of its train vectors.
        fingerprint: Hash of the vectors, as the part's own record has it.
        largest_norm: Of its vectors: where it cannot win, the part is not opened.
    """

    folder: str
    kind: Kind
    rows: int
    fingerprint: str
    largest_norm: float


@dataclass(frozen=True, kw_only=True)
class PartsRecord:
    """Saved as JSON beside the folders of the parts.

    Attributes:
        kind: ``"annoy"`` where any part is searched so, ``"exact"`` where all are searched exactly.
        dimensions: Length of the train vectors, ``D``.
        parts: In order of their positions.
        recalls: Share of the true ten best among all parts that were found, by side.
        note: Why this kind, in a sentence for people.
        timings: Seconds: ``build``.
        schema_version: Of this file.
    """

    kind: Kind
    dimensions: int
    parts: tuple[PartRecord, ...]
    recalls: dict[str, float]
    note: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def rows(self) -> int:
        """Number of train vectors in all parts, ``N``."""
        return sum(part.rows for part in self.parts)

    def write(self, folder: Path) -> None:
        """Write the record, whole or not at all."""
        write_text(folder / PARTS_FILE, json.dumps(asdict(self), indent=1) + "\n")


def read_parts_record(folder: Path) -> PartsRecord:
    """Read the record of an index in parts, and check that each part is there and the same.

    Of a part only its own small record is read; its files are checked when it is opened.

    Raises:
        RetrievalError: If the record or a part is missing, corrupt, or of a newer program.
    """
    try:
        values: dict[str, Any] = json.loads((folder / PARTS_FILE).read_text("utf-8"))
        version = int(values["schema_version"])
        record = _parse(values) if version <= SCHEMA_VERSION else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError, OverflowError) as error:
        raise RetrievalError(
            f"Found no sound index in parts in {folder} ({type(error).__name__}: {error}); "
            "expected the folder that build_index_in_parts wrote. Delete the folder and build "
            "the index again."
        ) from error
    if record is None:
        raise RetrievalError(
            f"The index in {folder} has schema version {version}; this program reads up to "
            f"{SCHEMA_VERSION}. Update the program, or delete the folder and build the index again."
        )
    for part in record.parts:
        _check_part(folder, record, part)
    return record


def _parse(values: dict[str, Any]) -> PartsRecord:
    """Return the record of the values.

    Raises:
        TypeError: If one is of another type.
        ValueError: If one is impossible.
    """
    parts = tuple(PartRecord(**part) for part in values.pop("parts"))
    record = PartsRecord(**values, parts=parts)
    numbers = [record.dimensions, *(part.rows for part in parts)]
    if not parts or any(type(number) is not int or number < 1 for number in numbers):
        raise ValueError("its sizes are no whole numbers above 0")
    if record.kind not in ("exact", "annoy"):
        raise ValueError(f"kind {record.kind!r:.80}")
    if not record.recalls or any(type(one) not in (int, float) for one in record.recalls.values()):
        raise TypeError("recalls are missing or no numbers")
    if not isinstance(record.timings, dict) or type(record.note) is not str:
        raise TypeError("timings or note are of another type")
    for part in parts:
        if not _PART_NAME.match(part.folder) or not math.isfinite(part.largest_norm):
            raise ValueError(f"part {part.folder!r:.80} cannot be one")
    if len({part.folder for part in parts}) < len(parts):
        raise ValueError("a part is named twice")
    return record


def _check_part(folder: Path, record: PartsRecord, part: PartRecord) -> None:
    place = folder / part.folder
    if not place.is_dir():
        raise RetrievalError(
            f"Part {part.folder} of the index in {folder} is missing; expected all "
            f"{len(record.parts)} parts. Put it back from a copy, or delete the folder and build "
            "the index again."
        )
    found = read_record(place)
    expected = (part.rows, record.dimensions, part.fingerprint)
    if (found.rows, found.dimensions, found.fingerprint) != expected:
        raise RetrievalError(
            f"Part {part.folder} of the index in {folder} is another one: it has {found.rows} "
            f"vectors of {found.dimensions} numbers, expected {part.rows} of {record.dimensions} "
            "and those that the index was built over. Put the right one back, or delete the "
            "folder and build the index again."
        )
