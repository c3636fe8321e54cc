"""Text files as they come: gzip or not, in one of many encodings, or in two at once."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO, cast

from tracin_core.errors import InputError
from tracin_core.sources.encoding_guesses import (
    GUESSED_FROM,
    EncodingGuesses,
    FoundEncoding,
    current_guesses,
)
from tracin_core.sources.legacy_encodings import SAMPLED, describe_legacy, find_legacy
from tracin_core.sources.shared_files import open_file

_GZIP = b"\x1f\x8b"
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1b")
MAX_LINE = 8_000_000  # characters; a longer line is no row of a table
# A table in gzip shrinks to a fifth, one with much repetition to a hundredth.
LARGEST_GROWTH = 200
SMALL_GZIP = 2**28  # bytes; below this nothing is too much
_READ_AT_ONCE = 1 << 17  # bytes
_CHANCE = 0.01  # share of lines that may be valid UTF-8 in a file of another encoding
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacking gzip whatever the file is called.

    Raises:
        InputError: If the file cannot be opened, or the gzip data is damaged.
    """
    try:
        with open_file(path) as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            if packed:
                with gzip.open(raw) as unpacked:
                    bounded = _Bounded(unpacked, path)
                    yield cast("IO[bytes]", io.BufferedReader(bounded, _READ_AT_ONCE))
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"The gzip file {path} is damaged or cut off ({error}). Expected a whole file: "
            "export or download it again."
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


class _Bounded(io.RawIOBase):
    """What a gzip file unpacks to, as long as it is not far more than a table can."""

    def __init__(self, file: gzip.GzipFile, path: Path) -> None:
        self._file, self._path, self._count = file, path, 0
        self._most = max(SMALL_GZIP, LARGEST_GROWTH * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read1(len(buffer))
        self._count += len(data)
        if self._count > self._most:
            raise InputError(
                f"The gzip file {self._path} unpacks to more than {self._most / 2**20:,.0f} MB, "
                f"expected at most {LARGEST_GROWTH} times its size: a file like this is made to "
                "fill the memory. If it is sound, unpack it and import what was in it."
            )
        buffer[: len(data)] = data
        return len(data)


def unreadable(path: Path, error: OSError) -> InputError:
    """Return the error for a file that cannot be opened."""
    return InputError(
        f"{path} cannot be read: {error.strerror or error}. Expected a file or folder that this "
        "program may read. Mend its name or its permissions."
    )


def find_encoding(path: Path) -> FoundEncoding:
    """Find a text file's encoding, by its mark, by trying UTF-8 on every line, or by its letters.

    Within ``EncodingGuesses.run`` it is found once, and UTF-8 is supposed by a file's beginning.

    Raises:
        InputError: If the file is empty, no text, or cannot be read.
    """
    guesses = current_guesses()
    found = guesses.find(path) if guesses else None
    return found or _look_for_encoding(path, guesses)


def _look_for_encoding(path: Path, guesses: EncodingGuesses | None) -> FoundEncoding:
    with open_bytes(path) as file:
        start = file.read(4096)
    if not start.strip(b"\x00\r\n\t "):
        raise InputError(
            f"{path} is empty. Expected a table with a line of column names and lines of values."
        )
    for mark, name in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return FoundEncoding(name)
    # Latin text in UTF-16 has a zero in every second byte, and which half tells the byte order.
    zeros = start[0::2].count(0), start[1::2].count(0)
    if max(zeros) >= max(len(start) // 8, 1) and min(zeros) <= max(zeros) // 8:
        name = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
        note = f"Encoding: {name}, by its zero bytes. --encoding says otherwise."
        return FoundEncoding(name, note)
    if sum(byte in _CONTROLS for byte in start) > len(start) // 20:
        raise InputError(
            f"{path} is no text file: it is full of control characters. Expected CSV, TSV or JSON "
            "lines, or a Parquet file. Export the table in one of these forms."
        )
    return _try_utf_8(path, guesses)


def _try_utf_8(path: Path, guesses: EncodingGuesses | None) -> FoundEncoding:
    """Count the pieces with foreign letters in valid UTF-8, and those that are not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    valid = broken = length = 0
    sample = b""
    enough = GUESSED_FROM if guesses and guesses.may_guess(path) else None
    with open_bytes(path) as file:
        while piece := file.readline(1 << 20):
            length += len(piece)
            if guesses and enough and length > enough and not broken:
                supposed = FoundEncoding("utf-8")
                guesses.remember(path, supposed, is_sure=False)
                return supposed
            if piece.isascii():
                continue
            if len(sample) + len(piece) <= SAMPLED:
                sample += piece
            try:
                decoder.decode(piece, final=piece.endswith(b"\n"))
                valid += 1
            except UnicodeDecodeError:
                decoder.reset()
                broken += 1
    found = _judge(valid, broken, sample)
    if guesses:
        guesses.remember(path, found)
    return found


def _judge(valid: int, broken: int, sample: bytes) -> FoundEncoding:
    """Return the encoding by the pieces that are UTF-8, those that are not, and some of both."""
    if not broken:
        return FoundEncoding("utf-8")
    # A short word of two Chinese characters may happen to be valid UTF-8.
    legacy = find_legacy(sample) if valid <= _CHANCE * broken else None
    if legacy is not None:
        return FoundEncoding(
            legacy,
            f"Encoding: {legacy} ({describe_legacy(legacy)}), found by its letters: the file is "
            "not UTF-8. If letters look wrong, name another one with --encoding.",
        )
    if valid:
        return FoundEncoding(
            "utf-8",
            f"Encoding: utf-8, but mixed. {valid:,} lines with foreign letters are UTF-8, "
            f"{broken:,} are not; those are left out. Save the whole file as UTF-8; any one "
            "encoding named for all of it would spoil the lines of the other.",
        )
    return FoundEncoding(
        "cp1252",
        "Encoding: cp1252 (Windows-1252, Western European), as the file is not UTF-8 and no other "
        "encoding is sure. If letters look wrong, name another one with --encoding.",
    )


def is_text(start: bytes) -> bool:
    """Tell whether a file's first bytes are text in UTF-16 or without control characters."""
    if not start.strip():
        return False
    if any(start.startswith(mark) for mark, _ in _BYTE_ORDER_MARKS):
        return True
    return sum(byte in _CONTROLS for byte in start) <= len(start) // 100


def decode_marked(data: bytes) -> str:
    """Return a file's text, in the encoding of its byte order mark or in UTF-8.

    Raises:
        UnicodeDecodeError: If it is in neither.
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(name)
    return data.decode("utf-8")


@contextmanager
def open_text(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open a text file; bytes that do not fit the encoding become lone surrogates.

    Raises:
        InputError: If the file cannot be read in this encoding at all.
    """
    # UTF-16 has no single wrong bytes: where it breaks, everything after it is shifted.
    errors = "strict" if encoding.lower().startswith(("utf-16", "utf_16")) else "surrogateescape"
    guesses = current_guesses()
    with open_bytes(path) as file:
        watched = guesses.watch(path, file) if guesses and encoding == "utf-8" else file
        try:
            yield io.TextIOWrapper(watched, encoding=encoding, errors=errors, newline="")
        except UnicodeError as error:
            raise InputError(
                f"{path} is not {encoding}: {error}. Save it as UTF-8, or name its encoding with "
                "--encoding, for example --encoding cp1252."
            ) from error


def read_lines(path: Path, encoding: str) -> Iterator[str]:
    """Yield the lines of a text file with their ends.

    Raises:
        InputError: If the file cannot be read, or has a line that is far too long.
    """
    with open_text(path, encoding) as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE:
                raise InputError(
                    f"Line {number} of {path} is longer than {MAX_LINE:,} characters. Expected a "
                    "table with one example a line. Export it as CSV, TSV, JSON lines or Parquet."
                )
            yield line
