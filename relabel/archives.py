"""Zip and tar archives: the one place where they are opened, bounded, and made for others.

What an archive claims is bounded before it is read. The readers of Python's library trust it in
ways that a few bytes can exploit: a packed tar may give a name of gigabytes, or a list of holes
without end; a zip may name a file with nothing, with bytes that are no text, or with a path of
thousands of folders. Nothing here writes anything, and no name of a member is a path before
``split_member_path`` has split it.
"""

from __future__ import annotations

import lzma
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from tracin_core.errors import InputError

# Folders in folders that a path may have; a system allows some hundreds, people use ten.
MAX_DEPTH = 100
MAX_FILES = 5_000_000
# What packing may gain at most: images shrink little, texts by a factor of 5 to 30. One that grows
# more is a bomb.
LARGEST_GROWTH = 200
_SMALL = 2**30  # bytes; below this nothing is too much
_LONGEST_HEADER = 2**20  # bytes of a name or of a set of attributes in a tar
_LONG_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
# What the reader of a zip's list of files answers a damaged one with, beside its own errors.
_DAMAGED_LIST = (UnicodeDecodeError, IndexError, struct.error, OverflowError)
# What the readers answer damaged or unusual archives with; a RuntimeError asks for a password.
DAMAGED_ZIP = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError),
    *_DAMAGED_LIST,
)
DAMAGED = (*DAMAGED_ZIP, tarfile.TarError, ValueError)


class UnsafeArchiveError(InputError):
    """An archive is made in a way that no program makes one by chance, or that harms.

    Attributes:
        found: What is wrong with it, to go on from "The archive".
    """

    def __init__(self, path: Path | str, found: str, then: str) -> None:
        """Describe what is wrong with it.

        Args:
            path: The archive.
            found: What is wrong with it.
            then: What is expected, and what to do.
        """
        super().__init__(f"The archive {path} {found}{then}")
        self.found = found


@dataclass(frozen=True, slots=True)
class Member:
    """One file or folder of an archive.

    Attributes:
        name: As the archive has it; untrusted.
        size: Bytes, unpacked.
        is_folder: Whether it is a folder.
        is_plain: Whether it is a file, and no link or device.
        is_encrypted: Whether it can be read with a password alone.
        open: Opens it; works before the next member is asked for.
    """

    name: str
    size: int
    is_folder: bool
    is_plain: bool
    is_encrypted: bool
    open: Callable[[], IO[bytes] | None]


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip archive; a tar that ends with one is none."""
    return zipfile.is_zipfile(path) and not is_tar(path)


def is_tar(path: Path) -> bool:
    """Return whether a file is a tar archive, packed or not."""
    try:
        with open_tar(path):
            return True
    except (InputError, RecursionError):
        return True  # whoever reads it says what is wrong
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        return False


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive, all of whose files have names that can be said.

    Raises:
        UnsafeArchiveError: If a name is empty or no text, or leads through too many folders.
        zipfile.BadZipFile: If it is damaged, and all that the library raises.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGED_LIST as error:
        what = (
            f"names a file with bytes that are no UTF-8, {error.object[:80]!r}"
            if isinstance(error, UnicodeDecodeError)
            else f"has a damaged list of files ({error})"
        )
        raise UnsafeArchiveError(
            path,
            what,
            ". Expected names in UTF-8. Unpack it where it was made, rename the file, and make "
            "the archive again.",
        ) from error
    with archive:
        for one in archive.infolist():
            if not one.filename:
                raise UnsafeArchiveError(
                    path,
                    f"holds a file without a name ({one.file_size:,} bytes)",
                    ". Expected a name for each. Make the archive again without it.",
                )
            check_depth(path, one.filename)
        yield archive


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, packed or not, whose headers are bounded.

    Raises:
        UnsafeArchiveError: If a header is far too long, or a file is stored with holes.
        tarfile.TarError: If it is damaged, and what packers raise.
    """
    with tarfile.open(path, "r:*", tarinfo=_BoundedHeader) as archive:
        yield archive


@contextmanager
def open_zip_members(path: Path) -> Iterator[list[Member]]:
    """Return the members of a zip archive that does not unpack to far too much.

    Raises:
        InputError: If it does, and as ``open_zip``.
    """
    with open_zip(path) as archive:
        infos = archive.infolist()
        files = [one for one in infos if not one.is_dir()]
        check_size(path, len(files), sum(one.file_size for one in files))
        # zipfile stops at the size that the archive claims, which was added up before.
        yield [
            Member(
                one.filename,
                one.file_size,
                one.is_dir(),
                is_plain_file(one),
                bool(one.flag_bits & 0x1),
                lambda one=one: archive.open(one),  # type: ignore[misc]
            )
            for one in infos
        ]


@contextmanager
def open_tar_members(path: Path) -> Iterator[Iterator[Member]]:
    """Yield the members of a tar archive one after the other, as long as they are not too much.

    Raises:
        InputError: While they are read, if they are, or a path is too deep; as ``open_tar``.
    """
    with open_tar(path) as archive:
        yield _iterate_tar(path, archive)


def _iterate_tar(path: Path, archive: tarfile.TarFile) -> Iterator[Member]:
    count = total = 0
    while (one := archive.next()) is not None:
        count, total = count + 1, total + one.size
        check_size(path, count, max(total, one.offset_data + one.size))
        check_depth(path, one.name)
        yield Member(
            one.name,
            one.size,
            one.isdir(),
            one.isfile(),
            False,
            lambda one=one: archive.extractfile(one),  # type: ignore[misc]
        )
        archive.members = []  # type: ignore[attr-defined]  # it remembers them all


def is_plain_file(info: zipfile.ZipInfo) -> bool:
    """Return whether a member of a zip is a file, and no folder, link or device."""
    return not info.is_dir() and stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)


def split_member_path(name: str) -> tuple[str, ...]:
    """Split a member's name; empty if it leads outside."""
    plain = name.replace("\\", "/")
    parts = tuple(part for part in plain.split("/") if part not in ("", "."))
    is_outside = plain.startswith("/") or ".." in parts or (parts and parts[0].endswith(":"))
    return () if is_outside else parts


def check_depth(path: Path, name: str) -> None:
    """Check that a file of an archive does not lie in folders without end.

    Raises:
        UnsafeArchiveError: If it does.
    """
    depth = name.count("/") + name.count("\\")
    if depth > MAX_DEPTH:
        raise UnsafeArchiveError(
            path,
            f"has a file {depth:,} folders deep, {name[:60]!a}…",
            f", expected at most {MAX_DEPTH}. Make the archive again without it.",
        )


def bound_unpacked(num_bytes: int, small: int) -> int:
    """Return how many bytes an archive of a size may unpack to.

    Args:
        num_bytes: Size of the archive.
        small: Bytes that are never too much.
    """
    return max(small, LARGEST_GROWTH * num_bytes)


def check_size(path: Path, num_files: int, num_bytes: int) -> None:
    """Check that an archive does not unpack to more than an archive of data can.

    Raises:
        UnsafeArchiveError: If it does.
    """
    largest = bound_unpacked(path.stat().st_size, _SMALL)
    if num_files > MAX_FILES or num_bytes > largest:
        raise UnsafeArchiveError(
            path,
            f"unpacks to {num_files:,} files with {num_bytes / 2**30:,.1f} GB",
            f", expected at most {MAX_FILES:,} files and {largest / 2**30:,.1f} GB for its size. "
            "If it is sound, unpack it and import the folder.",
        )


class _BoundedHeader(tarfile.TarInfo):
    """A file of an archive whose name and attributes are of a size that names have."""

    _archive: Any = ""  # its path, for messages

    def _proc_member(self, archive: Any) -> Any:
        self._archive = archive.name
        if self.type in _LONG_HEADERS and self.size > _LONGEST_HEADER:
            raise UnsafeArchiveError(
                self._archive,
                f"has a name or attributes of {self.size:,} bytes",
                f", expected at most {_LONGEST_HEADER:,}: it is made to fill the memory. Make it "
                "again, or unpack it and import the folder.",
            )
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse_holes(self)
        return super()._proc_member(archive)  # type: ignore[misc]

    # A file with holes lists them in blocks that may go on for ever, and is no image or table.
    def _refuse_holes(self, file: tarfile.TarInfo, *_: Any) -> None:
        raise UnsafeArchiveError(
            self._archive,
            f"stores the file {file.name[:80]!a} with holes (sparse)",
            ", which is not read. Expected plain files: make the archive again without --sparse.",
        )

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_holes


# Names that Windows keeps for devices, with any ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST_NAME = 80  # characters; with four bytes each it fits every system
_UNSAFE = re.compile(r'[<>:"/\\|?*]')
# The same archive for the same files, whenever it is made.
_MADE_AT = (1980, 1, 1, 0, 0, 0)


def make_plain_name(text: str) -> str:
    """Return a text as the name of one file or folder, which no system takes for anything else.

    Characters that lead elsewhere, cannot be seen or turn the writing direction become "_", as
    does a name of blanks and points alone.
    """
    # Cc: control, Cf: invisible or turning, Cs: half a pair, Co and Cn: of nobody, Z: separators.
    seen = "".join(
        one if unicodedata.category(one)[0] not in "C" and one.isprintable() else "_"
        for one in unicodedata.normalize("NFC", text)
    )
    plain = _UNSAFE.sub("_", seen)[:_LONGEST_NAME].strip(" .") or "_"
    return f"_{plain}" if _DEVICES.fullmatch(plain) else plain


class NewArchive:
    """A zip archive in the making, no two of whose names differ in case or ending alone."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        """Begin; see ``make_zip``."""
        self._archive = archive
        self._taken: set[str] = set()
        self._folders: dict[tuple[str, str], str] = {}

    def name_folder(self, parent: str, text: str) -> str:
        """Return the path of a folder for a text, the same one for the same text.

        Args:
            parent: Path that it lies in, made here or "".
            text: What it is for; may be anything.
        """
        key = (parent, text)
        if key not in self._folders:
            self._folders[key] = self._take(parent, make_plain_name(text), "")
        return self._folders[key]

    def name_file(self, folder: str, stem: str, suffix: str) -> str:
        """Return a path for a new file.

        Args:
            folder: Path that it lies in, made here or "".
            stem: Its name; may be anything.
            suffix: Its ending, with the point; may be anything.
        """
        ending = f".{make_plain_name(suffix[1:])}" if suffix[1:] else ""
        return self._take(folder, make_plain_name(stem), ending)

    def write(self, path: str, data: bytes, *, is_packed: bool = False) -> None:
        """Write a file; what is packed already, such as a picture, is not packed again."""
        self._archive.writestr(_describe_file(path, is_packed=is_packed), data)

    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """Yield a file of any size, to be written from its beginning to its end; it is packed."""
        with self._archive.open(
            _describe_file(path, is_packed=True), "w", force_zip64=True
        ) as file:
            yield file

    def _take(self, folder: str, name: str, ending: str) -> str:
        before = f"{folder}/" if folder else ""
        path, number = f"{before}{name}", 1
        while path.casefold() in self._taken:
            number += 1
            path = f"{before}{name}_{number}"
        self._taken.add(path.casefold())
        return path + ending


def _describe_file(path: str, *, is_packed: bool) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path, _MADE_AT)
    info.compress_type = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


@contextmanager
def make_zip(file: BinaryIO) -> Iterator[NewArchive]:
    """Yield a zip archive that is written into an open file."""
    with zipfile.ZipFile(file, "w") as archive:
        yield NewArchive(archive)
