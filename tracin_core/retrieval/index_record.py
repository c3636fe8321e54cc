"""What is known of a saved index: of which vectors it is, and how good it was measured to be."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from tracin_core.errors import RetrievalError

SCHEMA_VERSION = 1
FILE_NAME = "index.json"

Kind = Literal["exact", "annoy"]


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
    schema_version: int = SCHEMA_VERSION

    def write(self, folder: Path) -> None:
        """Write the record into an index's folder."""
        (folder / FILE_NAME).write_text(json.dumps(asdict(self), indent=2) + "\n")


def read_record(folder: Path) -> IndexRecord:
    """Read the record of the index in a folder.

    Raises:
        RetrievalError: If it is missing, corrupt, or of a newer version of the program.
    """
    try:
        values: dict[str, Any] = json.loads((folder / FILE_NAME).read_text("utf-8"))
        version = int(values["schema_version"])
        if version <= SCHEMA_VERSION:
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
    """See that the values are of the types that searches rely on.

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
