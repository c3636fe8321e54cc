"""Opening zip and tar archives that strangers made: what they claim is bounded before it is read.

The readers of Python's library trust an archive in ways that a few bytes can exploit: a packed tar
may give a name of gigabytes, or a list of holes without end; a zip may name a file with nothing,
with bytes that are no text, or with a path of thousands of folders.
"""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracin_core.errors import InputError

# Folders in folders that a path may have; a system allows some hundreds, people use ten.
MAX_DEPTH = 100
_LONGEST_HEADER = 2**20  # bytes of a name or of a set of attributes in a tar
_LONG_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
# What the zip reader answers a damaged list of files with, beside its own errors.
_DAMAGED_LIST = (UnicodeDecodeError, IndexError, struct.error, OverflowError)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive, all of whose files have names that can be said.

    Raises:
        InputError: If a name is empty or no text, or leads through too many folders.
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
        raise InputError(
            f"The archive {path} {what}. Expected names in UTF-8. Unpack it where it was made, "
            "rename the file, and make the archive again."
        ) from error
    with archive:
        for one in archive.infolist():
            if not one.filename:
                raise InputError(
                    f"The archive {path} holds a file without a name ({one.file_size:,} bytes). "
                    "Expected a name for each. Make the archive again without it."
                )
            check_depth(path, one.filename)
        yield archive


def check_depth(path: Path, name: str) -> None:
    """See that a file of an archive does not lie in folders without end.

    Raises:
        InputError: If it does.
    """
    depth = name.count("/") + name.count("\\")
    if depth > MAX_DEPTH:
        raise InputError(
            f"The archive {path} has a file {depth:,} folders deep, {name[:60]!a}…, expected at "
            f"most {MAX_DEPTH}. Make the archive again without it."
        )


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, packed or not, whose headers are bounded.

    Raises:
        InputError: If a header is far too long, or a file is stored with holes.
        tarfile.TarError: If it is damaged, and what packers raise.
    """
    with tarfile.open(path, "r:*", tarinfo=_BoundedHeader) as archive:
        yield archive


def is_tar(path: Path) -> bool:
    """Tell whether a file is a tar archive, packed or not."""
    try:
        with open_tar(path):
            return True
    except (InputError, RecursionError):
        return True  # whoever reads it says what is wrong
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        return False


class _BoundedHeader(tarfile.TarInfo):
    """A file of an archive whose name and attributes are of a size that names have."""

    _archive: Any = ""  # its path, for messages

    def _proc_member(self, archive: Any) -> Any:
        self._archive = archive.name
        if self.type in _LONG_HEADERS and self.size > _LONGEST_HEADER:
            raise InputError(
                f"The archive {self._archive} has a name or attributes of {self.size:,} bytes, "
                f"expected at most {_LONGEST_HEADER:,}: it is made to fill the memory. Make it "
                "again, or unpack it and import the folder."
            )
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse_holes(self)
        return super()._proc_member(archive)  # type: ignore[misc]

    # A file with holes lists them in blocks that may go on for ever, and is no image or table.
    def _refuse_holes(self, file: tarfile.TarInfo, *_: Any) -> None:
        raise InputError(
            f"The archive {self._archive} stores the file {file.name[:80]!a} with holes (sparse), "
            "which is not read. Expected plain files: make the archive again without --sparse."
        )

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_holes
