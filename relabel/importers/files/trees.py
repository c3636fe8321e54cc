"""The files of a folder, a zip or a tar archive, one after the other; and unpacking an archive.

A ``Tree`` is read without writing anything, so no name in an archive can lead anywhere. An archive
with a table or a saved data set is unpacked, because such files are read back and forth. What
``unpack_archive`` writes lies inside one new folder, whatever the archive names: paths that lead
outside, links and devices are refused, and so is what unpacks to far more than its size.
"""

from __future__ import annotations

import errno
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from relabel.archives import (
    DAMAGED,
    MAX_DEPTH,
    Member,
    is_tar,
    is_zip,
    open_tar_members,
    open_zip_members,
    split_member_path,
)
from relabel.features.image import MAX_BYTES
from relabel.files import is_of_content
from relabel.importers.columns.column_names import is_clutter
from relabel.importers.columns.values import RefusedError, ascii_escaped, show
from relabel.importers.files.encoding import unreadable
from relabel.importers.files.images import read_within_limit, too_large
from relabel.importers.files.locating import (
    ANNOTATIONS,
    SAVED,
    list_folder,
    list_tables,
    list_wrappings,
    may_be_table,
    unwrap,
)
from relabel.importers.readers.torchvision import find_dataset, is_dataset_path
from tracin_core.errors import InputError
from tracin_core.files import naming

Read = Callable[[], bytes]
_CHUNK = 2**20  # bytes
_IMPOSSIBLE_NAMES = (
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL),
)


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
        with translate_archive_errors(self._path), open_zip_members(self._path) as members:
            # Unpacked, a file that was added again replaces the earlier one.
            files = {member.name: member for member in members if not member.is_folder}
            listed = [(split_member_path(name), member) for name, member in files.items()]
            number = 0
            for parts, member in sorted(listed, key=lambda one: (one[0], one[1].name)):
                if clutter := find_clutter(parts):
                    self.passed[_clutter_word(clutter)] += 1
                    continue
                name = ascii_escaped("/".join(parts) or member.name)
                yield TreeFile(number, name, parts, _zip_reader(member))
                number += 1
            folders = {split_member_path(member.name) for member in members if member.is_folder}
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
        with translate_archive_errors(self._path), open_tar_members(self._path) as members:
            for member in members:
                parts = split_member_path(member.name)
                if member.is_folder:
                    folders.add(parts)
                elif clutter := find_clutter(parts):
                    self.passed[_clutter_word(clutter)] += 1
                else:
                    # One that has grown since has no place; the second reading says so.
                    known = self._ranks is not None and count < len(self._ranks)
                    place = self._ranks[count] if self._ranks is not None and known else count
                    if place >= 0:
                        name = ascii_escaped("/".join(parts) or member.name)
                        yield TreeFile(place, name, parts, _tar_reader(member))
                    if self._ranks is None:
                        names.append(parts)
                    count += 1
        if self._ranks is None:
            self._ranks = _rank(names)
            self.empty |= _find_empty(folders, names)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one."""
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


def _zip_reader(member: Member) -> Read:
    def read() -> bytes:
        if member.is_encrypted:
            raise RefusedError(
                "encrypted", "It is encrypted. Unpack the archive with its password first."
            )
        try:
            return _read_plain(member)
        except (*DAMAGED, OSError) as error:
            raise RefusedError(
                "damaged in the archive",
                f"It cannot be unpacked ({error}). Make or download the archive again.",
            ) from error

    return read


def _tar_reader(member: Member) -> Read:
    # What is damaged in a tar is said of the whole: nothing behind it can be read.
    return lambda: _read_plain(member)


def _read_plain(member: Member) -> bytes:
    if not member.is_plain:
        raise RefusedError(
            "no plain file", "It is a link or a device, which is not followed. Pack the file."
        )
    if member.size > MAX_BYTES:
        raise too_large(member.size)
    file = member.open()
    if file is None:
        return b""
    with file:
        return file.read(MAX_BYTES + 1)


def find_clutter(parts: tuple[str, ...]) -> str:
    """Return the part of a path that nobody means as data; "" where there is none."""
    return next(filter(is_clutter, parts), "")


def safe_parts(name: str) -> tuple[str, ...] | None:
    """Split a member's name; empty if it leads outside, None if nobody means it as data."""
    parts = split_member_path(name)
    if not parts:
        is_nothing = not name.replace("\\", "/").strip("/.") and not name.startswith("/")
        return None if is_nothing and ".." not in name else ()
    return None if find_clutter(parts) else parts


def _clutter_word(name: str) -> str:
    """Return what to call what is passed over."""
    return ascii_escaped(name) if not name.startswith(".") else "hidden"


def _count_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


@contextmanager
def translate_archive_errors(path: Path) -> Iterator[None]:
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


def needs_unpacking(path: Path) -> bool:
    """Return whether an archive holds a table or a saved data set, beside folders or alone.

    What it is, is decided once it lies there as a folder, so that both are understood alike.

    Raises:
        InputError: If it is damaged, or unpacks to far too much.
    """
    parts = [found for member in _members(path) if (found := safe_parts(member.name))]
    if any(map(is_dataset_path, parts)):
        return True
    while parts and len({one[0] for one in parts}) == 1 and all(len(one) > 1 for one in parts):
        parts = [one[1:] for one in parts]
    if any(len(one) == 1 and (may_be_table(one[0]) or one[0] in SAVED) for one in parts):
        return True
    # A table in each of several folders, or in that of the annotations: what it says of pictures.
    inner = [one[0].lower() for one in parts if len(one) == 2 and may_be_table(one[1])]
    if len(inner) > 1 or inner == [ANNOTATIONS]:
        return True
    is_hub = any(len(one) == 2 and one[-1].endswith(".parquet") for one in parts)
    return is_hub or any(one[-1] == "state.json" for one in parts if len(one) == 2)


def unpack_archive(path: Path, target: Path) -> Path:
    """Unpack a zip or tar archive into a new folder, and return what is to be imported.

    Args:
        path: The archive; untrusted.
        target: The folder, which must not exist.

    Returns:
        The only table at the top, or the folder behind wrappings of one folder.

    Raises:
        InputError: If the archive is damaged, holds nothing or several tables, unpacks to far
            too much, or names files that would lie outside.
        OSError: If the disk is full.
    """
    for _ in _members(path):  # so that all sizes are known before anything is written
        pass
    count = 0
    for member in _members(path):
        parts = safe_parts(member.name)
        if parts is None:  # what systems add to every archive is no data
            continue
        if not parts or ":" in member.name or "\x00" in member.name or not member.is_plain:
            raise InputError(
                f"The archive names the file {show(member.name, 80)}, which would lie outside "
                "its folder or is a link. Expected plain files. Make the archive again without it."
            )
        _write(path, member, target.joinpath(*parts))
        count += 1
    if not count:
        raise InputError(
            f"The archive {path.name} holds no files. Expected a folder of images, a table or a "
            "saved data set in it."
        )
    return _find_data(path, target)


def _members(path: Path) -> Iterator[Member]:
    """Yield the files of an archive, as long as they are not far too much."""
    opened = open_zip_members if is_zip(path) else open_tar_members
    with translate_archive_errors(path), opened(path) as members:
        yield from (one for one in members if not one.is_folder)


def _write(archive: Path, member: Member, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        source = member.open()
        if source is not None:
            # A second file of the same name would take the place of the first.
            with naming(path), source, path.open("xb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
    except (*DAMAGED, OSError) as error:
        if not isinstance(error, OSError) or is_of_content(error):
            raise InputError(
                f"The archive {archive.name} cannot be unpacked: {error}. Expected a whole one "
                "without a password. Make it again, or unpack it and import what was in it."
            ) from error
        if error.errno not in _IMPOSSIBLE_NAMES:
            raise
        raise InputError(
            f"The archive names the file {show(member.name, 80)}, which cannot be made here "
            f"({error.strerror}). Make the archive again without it, or with shorter names."
        ) from error


def _find_data(path: Path, folder: Path) -> Path:
    """Return the only table where there is nothing else, else the folder behind wrappings.

    A table beside folders may name their files with the wrappings, which are kept then; so are
    those that a data set is recognised by.

    Raises:
        InputError: If there are several tables and nothing else.
    """
    root = unwrap(folder)
    folders, files = list_folder(root)
    tables = list_tables(root)
    is_saved = any(name in SAVED for name in files)
    if len(tables) == 1 and not folders and not is_saved:
        return root / tables[0]
    if len(tables) > 1 and not folders and not all(n.endswith(".parquet") for n in tables):
        raise InputError(
            f"The archive {path.name} holds {len(tables)} tables: {', '.join(tables[:10])}. "
            "Expected one. Unpack it, and import the tables one after the other, the second one "
            "into the same project."
        )
    known = next((one for one in list_wrappings(folder) if find_dataset(one)), root)
    return folder if tables and not is_saved else known
