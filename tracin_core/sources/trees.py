"""The files of a folder, a zip or a tar archive, one after the other, read and never unpacked.

Nothing of an archive is written anywhere, so no name in it can lead anywhere.
"""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tracin_core.errors import InputError
from tracin_core.examples.images import MAX_BYTES
from tracin_core.files import is_of_content
from tracin_core.sources.archive_bounds import MAX_DEPTH, check_depth, is_tar, open_tar, open_zip
from tracin_core.sources.folder_words import is_clutter
from tracin_core.sources.image_files import read_within_limit, too_large
from tracin_core.sources.text_encoding import unreadable
from tracin_core.sources.values import RefusedError, ascii_escaped

MAX_FILES = 5_000_000
# A zip or tar of images shrinks little; one that grows so much is a bomb.
_LARGEST_GROWTH = 200
_SMALL = 2**30  # bytes; below this nothing is too much

# What the readers of archives answer damaged or unusual ones with.
DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError),
    *(NotImplementedError, lzma.LZMAError, RecursionError, OverflowError),
)

Read = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file.

    Attributes:
        number: Place in the order by name, in which a folder and archives of it are alike.
        name: Path below the root, with "/", safe to print.
        parts: The same as a tuple; empty if the path leads outside.
        read: Returns its bytes, and raises ``RefusedError``; before the next file is asked for.
        is_linked_folder: Whether it is a link to a folder.
    """

    number: int
    name: str
    parts: tuple[str, ...]
    read: Read
    is_linked_folder: bool = False


class Tree(Protocol):
    """Something with files in it.

    Attributes:
        root: The folder or archive.
        passed: Files that nobody means as data, by the name that says so; complete once all files
            were listed.
        empty: Folders without a file, where that is known; complete likewise.
    """

    root: Path
    passed: Counter[str]
    empty: set[str]

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
    """Tell whether a file is a zip archive; a tar that ends with one is none."""
    return zipfile.is_zipfile(path) and not is_tar(path)


class FolderTree:
    """The files below a folder; links that lead out of it are refused."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.passed: Counter[str] = Counter()
        self.empty: set[str] = set()

    def files(self) -> Iterator[TreeFile]:
        """Yield the files by folder, each in alphabetical order."""
        self.passed.clear()
        for number, (path, parts, is_linked) in enumerate(self._walk(self.root, ())):
            shown = ascii_escaped("/".join(parts))
            yield TreeFile(number, shown, parts, self._reader(path, parts), is_linked)

    def _walk(
        self, folder: Path, parents: tuple[str, ...]
    ) -> Iterator[tuple[Path, tuple[str, ...], bool]]:
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry.name, _is_folder(entry)) for entry in entries)
        except OSError as error:
            raise unreadable(folder, error) from error
        if not found and parents:
            self.empty.add("/".join(parents))
        if len(parents) > MAX_DEPTH:
            raise InputError(
                f"The folder {ascii_escaped('/'.join(parents))[:200]}… lies more than {MAX_DEPTH} "
                f"folders below {self.root}. Expected fewer: name the folder that holds the data."
            )
        for name, has_files in found:
            path, parts = folder / name, (*parents, name)
            if is_clutter(name):
                self.passed[_clutter_word(name)] += _count_files(path) if has_files else 1
            elif has_files and not path.is_symlink():
                yield from self._walk(path, parts)
            else:
                yield path, parts, has_files

    def _reader(self, path: Path, parts: tuple[str, ...]) -> Read:
        def read() -> bytes:
            try:
                target = path.resolve()
            except (OSError, RuntimeError) as error:
                raise RefusedError(
                    "unreadable file",
                    "It is a link that leads back to itself. Remove it, or put the file there.",
                ) from error
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
        self.passed: Counter[str] = Counter()
        self.empty: set[str] = set()

    def files(self) -> Iterator[TreeFile]:
        """Yield the files by folder, each in alphabetical order."""
        self.passed.clear()
        with archive_explained(self._path), open_zip(self._path) as archive:
            members = [m for m in archive.infolist() if not m.filename.endswith("/")]
            check_size(self._path, len(members), sum(m.file_size for m in members))
            # Unpacked, a file that was added again replaces the earlier one.
            members = list({member.filename: member for member in members}.values())
            listed = [(parts_of(member.filename), member) for member in members]
            number = 0
            for parts, member in sorted(listed, key=lambda one: (one[0], one[1].filename)):
                if clutter := find_clutter(parts):
                    self.passed[_clutter_word(clutter)] += 1
                    continue
                name = ascii_escaped("/".join(parts) or member.filename)
                yield TreeFile(number, name, parts, _zip_reader(archive, member))
                number += 1
            folders = {parts_of(m.filename) for m in archive.infolist() if m.filename[-1:] == "/"}
            self.empty |= _find_empty(folders, [parts for parts, _ in listed])


class TarTree:
    """The files in a tar archive, packed or not, in the order they have there."""

    def __init__(self, path: Path) -> None:
        self.root = path
        self._path = path
        self.passed: Counter[str] = Counter()
        self.empty: set[str] = set()
        self._ranks: array[int] | None = None  # of the files by name; known once all were listed

    def files(self) -> Iterator[TreeFile]:
        """Yield the files in the archive's order: a packed one can only be read through."""
        self.passed.clear()
        names: list[tuple[str, ...]] = []
        folders: set[tuple[str, ...]] = set()
        count = 0
        with archive_explained(self._path), open_tar(self._path) as archive:
            number = 0
            while (member := archive.next()) is not None:
                number += 1
                check_size(self._path, number, member.offset_data + member.size)
                check_depth(self._path, member.name)
                parts = parts_of(member.name)
                if member.isdir():
                    folders.add(parts)
                elif clutter := find_clutter(parts):
                    self.passed[_clutter_word(clutter)] += 1
                else:
                    # One that has grown since has no place; the second reading says so.
                    known = self._ranks is not None and count < len(self._ranks)
                    place = self._ranks[count] if self._ranks is not None and known else count
                    if place >= 0:
                        name = ascii_escaped("/".join(parts) or member.name)
                        yield TreeFile(place, name, parts, _tar_reader(archive, member))
                    if self._ranks is None:
                        names.append(parts)
                    count += 1
                archive.members = []  # type: ignore[attr-defined]  # it remembers them all
        if self._ranks is None:
            self._ranks = _rank(names)
            self.empty |= _find_empty(folders, names)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, which whoever reads it says
        return False


def _rank(names: list[tuple[str, ...]]) -> array[int]:
    """Return the place of each name in alphabetical order; -1 of one that comes again later.

    Unpacked, a file that was added to an archive again replaces the earlier one.
    """
    ranks = array("q", bytes(8 * len(names)))
    order = sorted(range(len(names)), key=names.__getitem__)
    for rank, (number, following) in enumerate(zip(order, [*order[1:], -1], strict=True)):
        is_last = following < 0 or not names[number] or names[number] != names[following]
        ranks[number] = rank if is_last else -1
    return ranks


def _find_empty(folders: set[tuple[str, ...]], files: list[tuple[str, ...]]) -> set[str]:
    """Return the folders that an archive names and that nothing lies in."""
    if not folders:
        return set()
    filled = {parts[:length] for parts in (*files, *folders) for length in range(1, len(parts))}
    return {"/".join(one) for one in folders - filled if one and not find_clutter(one)}


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
        except (*DAMAGED, OSError) as error:
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


def parts_of(name: str) -> tuple[str, ...]:
    """Split a member's name; empty if it leads outside."""
    plain = name.replace("\\", "/")
    parts = tuple(part for part in plain.split("/") if part not in ("", "."))
    is_outside = plain.startswith("/") or ".." in parts or (parts and parts[0].endswith(":"))
    return () if is_outside else parts


def find_clutter(parts: tuple[str, ...]) -> str:
    """Return the part of a path that nobody means as data; "" where there is none."""
    return next(filter(is_clutter, parts), "")


def safe_parts(name: str) -> tuple[str, ...] | None:
    """Split a member's name; empty if it leads outside, None if nobody means it as data."""
    parts = parts_of(name)
    if not parts:
        is_nothing = not name.replace("\\", "/").strip("/.") and not name.startswith("/")
        return None if is_nothing and ".." not in name else ()
    return None if find_clutter(parts) else parts


def _clutter_word(name: str) -> str:
    """Return what to call what is passed over."""
    return ascii_escaped(name) if not name.startswith(".") else "hidden"


def _count_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


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
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and not is_of_content(error):
            raise unreadable(path, error) from error
        raise InputError(
            f"The archive {path} is damaged or cut off ({error}). Expected a whole zip or tar "
            "archive: make or download it again."
        ) from error
