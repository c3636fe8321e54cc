"""The form of a backup: a zip archive with a list of all that is in it, and its digests.

Nothing in the archive is believed before it is checked: names cannot leave the project's folder,
sizes are bounded before anything is unpacked, every file must have the digest in the list.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import IO, Any

from relabel.archives import (
    DAMAGED_ZIP,
    LARGEST_GROWTH,
    UnsafeArchiveError,
    bound_unpacked,
    is_plain_file,
    open_zip,
)
from relabel.errors import WorkspaceError
from relabel.files import is_of_content
from relabel.workspace import find_program_name
from tracin_core.errors import InputError
from tracin_core.files import check_ordinary

FORMAT = "tracin-project"
VERSION = 1
MANIFEST = "manifest.json"
# Where in the archive a project's rows and files are.
ROWS, FILES = "rows", "files"
# What the list of files may take: so much for each file, with the paths of its links; a million
# images take 150 MB. Decoded, JSON takes up to forty times its size, so its values are counted too.
MANIFEST_BASE, MANIFEST_BYTES_A_FILE = 1024 * 1024, 4096
MANIFEST_VALUES_BASE, MANIFEST_VALUES_A_FILE = 10_000, 16
SMALL = 100 * 10**6  # bytes that are unpacked whatever the ratio
PIECE = 1024 * 1024  # bytes read at a time
_EXPECTED = (
    f"Expected a file that `{find_program_name()} backup` wrote. Data of your own is imported "
    f"instead: {find_program_name()} import, or “Import data” on Projects."
)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


@dataclass(frozen=True)
class FileEntry:
    """A file in the archive.

    Attributes:
        bytes: Its size.
        sha256: Digest of its content.
    """

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is in a backup.

    Attributes:
        slug, title, kind: Of the project.
        counts: Rows by table.
        entries: Every other file in the archive, by its name there.
        links: Files that are the same as another one: path to path, in the project's folder.
        program: Version that wrote it.
        created_at: When, ISO 8601.
    """

    slug: str
    title: str
    kind: str
    counts: Mapping[str, int]
    entries: Mapping[str, FileEntry]
    links: Mapping[str, str]
    program: str
    created_at: str

    @property
    def total_bytes(self) -> int:
        """Bytes of all files, unpacked."""
        return sum(entry.bytes for entry in self.entries.values())

    def dump(self) -> bytes:
        """Return the manifest as JSON."""
        content = {"format": FORMAT, "version": VERSION} | asdict(self)
        return json.dumps(content, indent=1, ensure_ascii=False).encode()


@contextmanager
def open_backup(path: Path) -> Iterator[tuple[zipfile.ZipFile, Manifest]]:
    """Open a backup whose names and sizes are in order; contents are checked as they are read.

    Raises:
        InputError: If the file is no backup, is damaged, or is made to do harm.
        WorkspaceError: If it cannot be read.
    """
    try:
        # First of all: to open a pipe would wait for ever.
        check_ordinary(path, "a backup that this program wrote")
        _check_kind(path)
        with open_zip(path) as archive:
            size = path.stat().st_size
            _check_places(archive, size)
            manifest = _read_manifest(archive)
            _check_names(archive, manifest)
            _check_sizes(archive, manifest, size)
            yield archive, manifest
    except UnsafeArchiveError as error:
        raise _damaged(f"it {error.found}") from error
    except DAMAGED_ZIP as error:
        raise _damaged(str(error) or type(error).__name__) from error
    except OSError as error:
        if is_of_content(error):
            raise _damaged(error.strerror or str(error)) from error
        if error.filename is None or Path(error.filename) != path:
            raise
        raise WorkspaceError(
            f"The backup {path} cannot be read: {error.strerror}. Check the path and its "
            "permissions."
        ) from error


@contextmanager
def open_entry(archive: zipfile.ZipFile, manifest: Manifest, name: str) -> Iterator[IO[bytes]]:
    """Open one file of the archive, which is compared with its digest at the end of the block.

    Raises:
        InputError: If it is missing or its content is not what the list says.
    """
    entry = manifest.entries.get(name)
    if entry is None:
        raise _damaged(f"{name} is missing")
    with archive.open(name) as file:
        hashed = HashedReader(file)
        yield hashed  # type: ignore[misc]  # what is used of it is there
        while hashed.read(PIECE):
            pass
    if (hashed.size, hashed.digest()) != (entry.bytes, entry.sha256):
        raise _damaged(f"{name} is not what was backed up")


class HashedReader:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        return self._took(self._file.read(size))

    def readline(self, limit: int = -1) -> bytes:
        """Return the next line, or as much of it as the limit allows."""
        return self._took(self._file.readline(limit))

    def digest(self) -> str:
        """Return the digest of what was read so far."""
        return self._digest.hexdigest()

    def _took(self, data: bytes) -> bytes:
        self._digest.update(data)
        self.size += len(data)
        return data


def is_safe(name: str) -> bool:
    """Return whether a path stays inside the folder that it is relative to, on every system.

    A hidden file right in the project's folder would be one of this program's own marks.
    """
    parts = name.split("/")
    return (
        not any(one in name for one in "\\:\x00")
        and not any(part in ("", ".", "..") for part in parts)
        and not any(place.startswith(".") for place in (parts[0], *parts[1:2]))
    )


def _check_kind(path: Path) -> None:
    """Check that a file is a zip archive; one that was cut off begins as one and ends as none."""
    if zipfile.is_zipfile(path):
        return
    with path.open("rb") as file:
        begins_as_zip = file.read(4) == b"PK\x03\x04"
    if begins_as_zip:
        raise _damaged("its end is missing")
    raise InputError(f"{path.name} is no backup of a project: it is no zip archive. {_EXPECTED}")


def is_index(name: str) -> bool:
    """Return whether a path in a project's folder is a run's index, or lies in one.

    Indexes are read by native code, so none that comes from elsewhere is used. They are neither
    backed up nor restored, and built from the vectors, which are.
    """
    parts = PurePath(name).parts
    return len(parts) > 2 and parts[0] == "runs" and parts[2].startswith("index-")


def _read_manifest(archive: zipfile.ZipFile) -> Manifest:
    try:
        content: dict[str, Any] = json.loads(_read_list(archive))
        if content.pop("format") != FORMAT:
            raise KeyError("format")
        version = content.pop("version")
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"The file is no backup of a project: it has no readable manifest.json. {_EXPECTED}"
        ) from error
    if type(version) is not int or version != VERSION:
        raise InputError(
            f"The backup has format {version!r:.80}. Expected {VERSION}: a newer version of this "
            "program wrote it. To restore it, update the program."
        )
    try:
        entries = {
            str(name): FileEntry(_size(entry["bytes"]), str(entry["sha256"]))
            for name, entry in content.pop("entries").items()
        }
        links = {str(path): str(other) for path, other in content.pop("links").items()}
        counts = {str(name): _size(count) for name, count in content.pop("counts").items()}
        texts = {str(name): _plain_text(value) for name, value in content.items()}
        manifest = Manifest(entries=entries, links=links, counts=counts, **texts)
        if not 1970 <= datetime.fromisoformat(manifest.created_at).year <= 9000:
            raise ValueError(f"{manifest.created_at:.40} is no time that can be shown")
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise _damaged(f"its {MANIFEST} cannot be read ({error!s:.80})") from error
    return manifest


def _size(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r:.40} is no number of bytes or rows")
    return value


def _plain_text(value: object) -> str:
    """Return a text that can be shown; a lone surrogate could be neither drawn nor stored."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no text")
    value.encode()
    return value


def _read_list(archive: zipfile.ZipFile) -> bytes:
    """Return the manifest, which may be no longer than the number of files explains."""
    info, count = archive.getinfo(MANIFEST), len(archive.infolist())
    most = MANIFEST_BASE + MANIFEST_BYTES_A_FILE * count
    if info.file_size > most:
        raise _damaged(
            f"its list of {count:,} files has {info.file_size:,} bytes, more than {most:,}"
        )
    text = archive.read(MANIFEST)
    check_values(text, MANIFEST_VALUES_BASE + MANIFEST_VALUES_A_FILE * count, "its list of files")
    return text


def check_values(text: bytes, most: int, what: str) -> None:
    """Check that JSON does not hold far more values than it should, before it is decoded.

    Args:
        text: JSON; a value of three bytes takes a hundred once it is decoded.
        most: Values.
        what: What it is, for the message.

    Raises:
        InputError: If it does.
    """
    if _count_values(text) > most:
        # Commas and brackets in texts are none that divide values.
        count = _count_values(_STRING.sub(b"", text))
        if count > most:
            raise _damaged(f"{what} holds {count:,} values, more than {most:,}")


def _count_values(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _check_places(archive: zipfile.ZipFile, size: int) -> None:
    for info in archive.infolist():
        if not 0 <= info.header_offset < size:
            raise _damaged(f"{info.filename!r:.200} would lie outside the archive")


def _check_names(archive: zipfile.ZipFile, manifest: Manifest) -> None:
    names = [info.filename for info in archive.infolist()]
    for name in (*names, *manifest.links, *manifest.links.values()):
        if not is_safe(name):
            raise InputError(
                f"The backup names a file {name!r:.200}, which could lie outside the project's "
                "folder. Nothing was unpacked. Do not use this file."
            )
    if len(set(names)) < len(names) or {*names} != {MANIFEST, *manifest.entries}:
        raise _damaged("its list of files is not what it contains")
    files = {name.removeprefix(f"{FILES}/") for name in names if name.startswith(f"{FILES}/")}
    if not files.isdisjoint(manifest.links) or not files.issuperset(manifest.links.values()):
        raise _damaged("a file is to be the same as one that is not there")
    for info in archive.infolist():
        if not is_plain_file(info):
            raise _damaged(f"{info.filename} is no regular file")


def _check_sizes(archive: zipfile.ZipFile, manifest: Manifest, size: int) -> None:
    for info in archive.infolist():
        entry = manifest.entries.get(info.filename)
        if entry is not None and entry.bytes != info.file_size:
            raise _damaged(f"{info.filename} has another size than was backed up")
    total = manifest.total_bytes
    if total > bound_unpacked(size, SMALL):
        raise InputError(
            f"The backup of {size:,} bytes would unpack to {total:,}. Expected at most "
            f"{LARGEST_GROWTH} times its size: it is made to fill a disk. Do not use this file."
        )


def _damaged(found: str) -> InputError:
    return InputError(
        f"The backup is damaged: {found}. Expected it as `{find_program_name()} backup` wrote it. "
        "Copy it again from where it came, or use another backup; nothing was restored."
    )
