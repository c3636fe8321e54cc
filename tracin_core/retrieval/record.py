"""What is known of a saved index, in ``index.json``, and whether its files are still the same.

The record holds the fingerprint of the vectors, the measured recall and the digest of every file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from tracin_core.errors import RetrievalError

Kind = Literal["exact", "annoy"]

SCHEMA_VERSION = 1
FILE_NAME = "index.json"
PARTS_FILE = "parts.json"  # of an index in parts, whose folder holds the folders of several


@dataclass(frozen=True, kw_only=True)
class IndexRecord:
    """Saved as JSON beside the index's files.

    Attributes:
        kind: What answers the searches.
        rows: Number of train vectors, ``N``.
        dimensions: Their length, ``D``.
        fingerprint: Hash of the vectors; an index of other vectors is refused.
        recalls: Share of the true ten best that were found, by side, measured when built.
        note: Why this kind, in a sentence for the person who chose another or none.
        timings: Seconds: ``build``, ``exact_query``, ``query`` (medians of single queries).
        effort: How hard Annoy searches each band (candidates, search_k); empty if exact.
        digests: SHA-256 of every other file of the index by its name; None in the records of
            programs that wrote none.
        schema_version: Of this file.
    """

    kind: Kind
    rows: int
    dimensions: int
    fingerprint: str
    recalls: dict[str, float]
    note: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    effort: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] | None = None
    schema_version: int = SCHEMA_VERSION

    def write(self, folder: Path) -> None:
        """Write the record into an index's folder."""
        (folder / FILE_NAME).write_text(json.dumps(asdict(self), indent=2) + "\n")


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of an index but its record, by name below the folder.

    Raises:
        RetrievalError: If there is something that is no file, or cannot be read.
    """
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == FILE_NAME or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not path.is_file():
            raise report_changed(folder, f"{name} is no plain file")
        with path.open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def check_files(folder: Path, record: IndexRecord) -> None:
    """Check that the files of an index are what was written, every byte of them.

    Annoy believes its file: a changed one makes it read memory that is not there, which ends the
    process. So sizes and times, which anything that copies or restores a file may keep, do not
    do. Reading a file of 1 GB takes about a second, once for each process.

    Raises:
        RetrievalError: If a file is missing, changed, or too many; or if no digests were kept and
            the index is one of Annoy.
    """
    if record.digests is None:
        if record.kind == "annoy":
            raise report_changed(folder, "it was built before digests were kept")
        return  # nothing in it is believed by anything but NumPy, which checks what it reads
    if not isinstance(record.digests, dict):
        raise report_changed(folder, "its record is damaged")
    found = hash_files(folder)
    differing = sorted(
        name for name in {*found, *record.digests} if found.get(name) != record.digests.get(name)
    )
    if differing:
        raise report_changed(folder, f"{', '.join(differing[:3])} changed after it was built")


def report_changed(folder: Path, found: str) -> RetrievalError:
    """Return the error for an index whose files are not those that were saved."""
    return RetrievalError(
        f"The index in {folder} is not used: {found}. Expected the files that were saved with it. "
        "Delete the folder and build the index again; `python -m relabel doctor` does both."
    )


def read_record(folder: Path) -> IndexRecord:
    """Read the record of the index in a folder.

    Raises:
        RetrievalError: If it is missing, corrupt, or of a newer version of the program, or if
            the index is one in parts.
    """
    if (folder / PARTS_FILE).exists():
        raise RetrievalError(
            f"The index in {folder} is one in parts; expected a single one. Open it with "
            "open_index_in_parts."
        )
    try:
        values: dict[str, Any] = json.loads((folder / FILE_NAME).read_text("utf-8"))
        version = int(values["schema_version"])
        if version <= SCHEMA_VERSION:
            values.setdefault("digests", None)
            record = IndexRecord(**{f.name: values[f.name] for f in fields(IndexRecord)})
            if record.kind not in ("exact", "annoy"):
                raise ValueError(f"kind {record.kind!r:.80}")
            _check_types(record)
            return record
    except (OSError, ValueError, LookupError, TypeError, RecursionError, OverflowError) as error:
        raise RetrievalError(
            f"Found no sound index in {folder} ({type(error).__name__}: {error}); expected the "
            "folder that build_index wrote. Delete the folder and build the index again."
        ) from error
    raise RetrievalError(
        f"The index in {folder} has schema version {version}; this program reads up to "
        f"{SCHEMA_VERSION}. Update the program, or delete the folder and build the index again."
    )


def _check_types(record: IndexRecord) -> None:
    """Check that the values are of the types that searches rely on.

    Raises:
        TypeError: If one is not.
    """
    for name in ("rows", "dimensions"):
        if type(getattr(record, name)) is not int:
            raise TypeError(f"{name} is no whole number")
    for name in ("recalls", "timings", "effort"):
        numbers = getattr(record, name)
        if not isinstance(numbers, dict) or not all(
            type(value) in (int, float) for value in numbers.values()
        ):
            raise TypeError(f"{name} are no numbers")
    if not record.recalls:
        raise TypeError("recalls are missing")
