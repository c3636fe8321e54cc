"""The list of a stored run's files and of the parts that each lies in, ``complete.json``.

It is written last: without it there is no run. Names and numbers come from a store that others
write to, so none is used before it was checked.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

from relabel.errors import StoreError

MANIFEST = "complete.json"
NOTE = "stored.json"  # in the folder of a run whose large files are in a store alone
SCHEMA_VERSION = 1
_NAME = re.compile(r"(?!\.)[\w.,+=@-]+(/(?!\.)[\w.,+=@-]+)*\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, kw_only=True)
class StoredPart:
    """Consecutive bytes of a file, in a file of their own.

    Attributes:
        name: Below the run's folder in the store.
        size: In bytes.
        sha256: Of its content.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a run.

    Attributes:
        name: Below the run's folder.
        size: In bytes.
        sha256: Of its content.
        parts: In order; none for an empty file.
    """

    name: str
    size: int
    sha256: str
    parts: tuple[StoredPart, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that a stored run consists of.

    Attributes:
        project: Slug of the project.
        run: Key of the run.
        files: By name.
    """

    project: str
    run: str
    files: tuple[StoredFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def parts(self) -> dict[str, StoredPart]:
        """The parts of all files, by name."""
        return {part.name: part for file in self.files for part in file.parts}

    def find(self, name: str) -> StoredFile | None:
        """Return the file of a name; None where the run has none."""
        return next((file for file in self.files if file.name == name), None)

    def to_json(self) -> str:
        """Return the content of ``complete.json``."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, content: str | bytes, where: str) -> Manifest:
        """Read and check a manifest.

        Args:
            content: Of ``complete.json``.
            where: It was read from, for people.

        Raises:
            StoreError: If it is damaged, of a newer program, or names what no run has.
        """
        try:
            values = json.loads(content)
            if int(values.pop("schema_version")) > SCHEMA_VERSION:
                raise StoreError(
                    f"{where} was published by a newer version of this program. Update the program."
                )
            files = tuple(_read_file(file) for file in values.pop("files"))
            manifest = cls(**values, files=files)
            for name in (manifest.project, manifest.run):
                _check(_NAME.match(name) is not None and "/" not in name, f"name {name!r:.80}")
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"{where} is damaged ({type(error).__name__}: {error!s:.120}); expected the list "
                "of a run's files. Publish the run again."
            ) from error
        return manifest


def _read_file(values: dict[str, object]) -> StoredFile:
    parts = tuple(StoredPart(**part) for part in values.pop("parts"))  # type: ignore[attr-defined]
    file = StoredFile(**values, parts=parts)  # type: ignore[arg-type]
    entries: tuple[StoredFile | StoredPart, ...] = (file, *parts)
    for entry in entries:
        _check(_NAME.match(entry.name) is not None, f"name {entry.name!r:.80}")
        _check(type(entry.size) is int and entry.size >= 0, f"size {entry.size!r:.80}")
        _check(_DIGEST.match(entry.sha256) is not None, f"digest {entry.sha256!r:.80}")
    _check(sum(part.size for part in parts) == file.size, f"{file.name} has not its size")
    return file


def _check(sound: bool, fault: str) -> None:
    if not sound:
        raise ValueError(fault)
