"""The files of a folder, a zip or a tar archive, one after the other, read and never unpacked.

Nothing of an archive is written anywhere, so no name in it can lead anywhere.
"""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tracin_core.errors import InputError
from tracin_core.examples.images import MAX_BYTES
from tracin_core.sources.archive_bounds import MAX_DEPTH, check_depth, is_tar, open_tar, open_zip
from tracin_core.sources.image_files import read_within_limit, too_large
from tracin_core.sources.text_encoding import unreadable
from tracin_core.sources.values import RefusedError, ascii_escaped

# What systems and programs leave in folders, which nobody means as data.
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx", "icon\r"}
MAX_FILES = 5_000_000
# A zip or tar of images shrinks little; one that grows so much is a bomb.
_LARGEST_GROWTH = 200
_SMALL = 2**30  # bytes; below this nothing is too much

# What the readers of archives answer damaged or unusual ones with.
DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError),
    *(NotImplementedError, lzma.LZMAError, RecursionError),
)

Read = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file.

    Attributes:
        name: Path below the root, with "/", safe to print.
        parts: The same as a tuple; empty if the path leads outside.
        read: Returns its bytes, and raises ``RefusedError``; before the next file is asked for.
        is_linked_folder: Whether it is a link to a folder.
    """

    name: str
    parts: tuple[str, ...]
    read: Read
    is_linked_folder: bool = False


class Tree(Protocol):
    """Something with files in it."""

    root: Path

    def files(self) -> Iterator[TreeFile]:
        """Yield the files, in an order that is the same every time."""


def open_tree(path: Path) -> Tree:
    """Return the files of a folder or an archive.

    Raises:
        InputError: If it is neither, or damaged.
    """
    if path.is_dir():
        return FolderTree(path)
    if is_zip(path):
        return ZipTree(path)
    if is_tar(path):
        return TarTree(path)
    raise InputError(
        f"{path} is no folder and no zip or tar archive that can be read. Expected a folder with "
        "one folder of images for each class, as it is or as .zip or .tar.gz."
    )


def is_zip(path: Path) -> bool:
    """Tell whether a file is a zip archive."""
    return zipfile.is_zipfile(path)


class FolderTree:
    """The files below a folder; links that lead out of it are refused."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def files(self) -> Iterator[TreeFile]:
        """Yield the files by folder, each in alphabetical order."""
        return self._walk(self.root, ())

    def _walk(self, folder: Path, parents: tuple[str, ...]) -> Iterator[TreeFile]:
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry.name, entry.is_dir()) for entry in entries)
        except OSError as error:
            raise unreadable(folder, error) from error
        if len(parents) > MAX_DEPTH:
            raise InputError(
                f"The folder {ascii_escaped('/'.join(parents))[:200]}… lies more than {MAX_DEPTH} "
                f"folders below {self.root}. Expected fewer: name the folder that holds the data."
            )
        for name, is_folder in found:
            if _is_clutter(name):
                continue
            path, parts = folder / name, (*parents, name)
            if is_folder and not path.is_symlink():
                yield from self._walk(path, parts)
            else:
                shown = ascii_escaped("/".join(parts))
                yield TreeFile(shown, parts, self._reader(path, parts), is_folder)

    def _reader(self, path: Path, parts: tuple[str, ...]) -> Read:
        def read() -> bytes:
            target = path.resolve()
            if not target.is_relative_to(self.root):
                raise RefusedError(
                    "outside the data folder",
                    f"It is a link that leaves the data folder, to {target}. Expected files "
                    "inside it. Copy the file there; cp -rL copies a folder without links.",
                )
            return read_within_limit(target, "/".join(parts)).data

        return read


class ZipTree:
    """The files in a zip archive."""

    def __init__(self, path: Path) -> None:
        self.root = path
        self._path = path

    def files(self) -> Iterator[TreeFile]:
        """Yield the files in alphabetical order."""
        with archive_explained(self._path), open_zip(self._path) as archive:
            members = [m for m in archive.infolist() if not m.filename.endswith("/")]
            check_size(self._path, len(members), sum(m.file_size for m in members))
            for member in sorted(members, key=lambda member: member.filename):
                parts = safe_parts(member.filename)
                if parts is not None:
                    yield TreeFile(
                        ascii_escaped(member.filename), parts, _zip_reader(archive, member)
                    )


class TarTree:
    """The files in a tar archive, packed or not, in the order they have there."""

    def __init__(self, path: Path) -> None:
        self.root = path
        self._path = path

    def files(self) -> Iterator[TreeFile]:
        """Yield the files in the archive's order: a packed one can only be read through."""
        with archive_explained(self._path), open_tar(self._path) as archive:
            number = 0
            while (member := archive.next()) is not None:
                number += 1
                check_size(self._path, number, member.offset_data + member.size)
                check_depth(self._path, member.name)
                parts = None if member.isdir() else safe_parts(member.name)
                if parts is not None:
                    yield TreeFile(ascii_escaped(member.name), parts, _tar_reader(archive, member))
                archive.members = []  # type: ignore[attr-defined]  # it remembers them all


def _zip_reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Read:
    def read() -> bytes:
        if member.flag_bits & 0x1:
            raise RefusedError(
                "encrypted", "It is encrypted. Unpack the archive with its password first."
            )
        if member.file_size > MAX_BYTES:
            raise too_large(member.file_size)
        try:
            with archive.open(member) as file:
                return file.read(MAX_BYTES + 1)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
            raise RefusedError(
                "damaged in the archive",
                f"It cannot be unpacked ({error}). Make or download the archive again.",
            ) from error

    return read


def _tar_reader(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Read:
    def read() -> bytes:
        if not member.isfile():
            raise RefusedError(
                "no plain file", "It is a link or a device, which is not followed. Pack the file."
            )
        if member.size > MAX_BYTES:
            raise too_large(member.size)
        file = archive.extractfile(member)
        return b"" if file is None else file.read()

    return read


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


def safe_parts(name: str) -> tuple[str, ...] | None:
    """Split a member's name; empty if it leads outside, None if nobody means it as data."""
    plain = name.replace("\\", "/")
    parts = tuple(part for part in plain.split("/") if part not in ("", "."))
    if plain.startswith("/") or ".." in parts or (parts and parts[0].endswith(":")):
        return ()
    return None if not parts or any(map(_is_clutter, parts)) else parts


def check_size(path: Path, num_files: int, num_bytes: int) -> None:
    """See that an archive does not unpack to more than an archive of images can.

    Raises:
        InputError: If it does.
    """
    largest = max(_SMALL, _LARGEST_GROWTH * path.stat().st_size)
    if num_files > MAX_FILES or num_bytes > largest:
        raise InputError(
            f"The archive {path} unpacks to {num_files:,} files with {num_bytes / 2**30:,.1f} GB, "
            f"expected at most {MAX_FILES:,} files and {largest / 2**30:,.1f} GB for its size. "
            "If it is sound, unpack it and import the folder."
        )


@contextmanager
def archive_explained(path: Path) -> Iterator[None]:
    """Turn the ways in which an archive fails to be read into one message.

    Raises:
        InputError: If it is damaged, cut off or unreadable.
    """
    try:
        yield
    except DAMAGED as error:
        raise InputError(
            f"The archive {path} is damaged or cut off ({error}). Expected a whole zip or tar "
            "archive: make or download it again."
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
