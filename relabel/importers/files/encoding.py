"""Text files in any encoding, gzip or not: find the encoding, and read the lines.

Whether a file is UTF-8 is known at its end only. So as not to read a large one twice, UTF-8 is
supposed if its first megabytes are, and every byte is checked on the way through the rows
(``EncodingGuesses``). Where one is wrong, the file is looked at whole and its rows are read again.

charset-normalizer ranks the older encodings (``find_legacy``). A wrong one among them often reads
well to it, so that what it finds must also look like the script that the encoding is for: words of
Cyrillic letters, common Chinese characters, Japanese kana. Western European files are Windows-1252
unless all of that speaks against it.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO, TypeVar, cast

from relabel.importers.files.shared import Identity, identify, open_file
from tracin_core.errors import InputError

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch


SAMPLED = 1 << 16  # bytes of lines with foreign letters; the library takes some milliseconds
_FEWEST = 40  # foreign letters: of fewer, two scripts may look alike
_FEWEST_OF_ALPHABET = 80
_FEWEST_DIFFERENT = 8
# The library's measures, 0 to 1: how usual the letters are in a language, and how odd the words.
_LEAST_COHERENCE, _MOST_CHAOS, _LEAST_LEAD = 0.25, 0.1, 0.15
_WESTERN = "cp1252"
# In Windows-1252, signs stand where Central European encodings have letters; no word has one
# between two letters. In ISO 8859-2, control characters stand where Windows-1250 has letters.
_ODD = re.compile(r"[\x80-\x9f]|[a-z][¡-©«-¹»-¿](?=[a-z])")
_FOREIGN = re.compile(r"[^\W_\x00-\x7f]")
_MIXED = re.compile(r"[A-Za-z][^\W_\x00-\x7f]|[^\W_\x00-\x7f][A-Za-z]")
_KANA = re.compile(r"[\u3041-\u30ff]")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_CENTRAL = ("cp1250", "iso8859_2")
_PEOPLE = dict.fromkeys(_CENTRAL, "Central European") | {"iso8859_7": "Greek"}
# Bytes at a file's beginning; what is not longer is looked at whole before anything is read.
GUESSED_FROM = 1 << 22
_T = TypeVar("_T")
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


@dataclass(frozen=True)
class _Legacy:
    """An encoding.

    Attributes:
        people: Who writes it, for the note.
        looks_right: Tells whether a text that was read by it is in its script.
        is_alphabet: Whether the library knows how often its letters are.
    """

    people: str
    looks_right: Callable[[str], bool]
    is_alphabet: bool = False


def describe_legacy(encoding: str) -> str:
    """Return who writes an encoding that ``find_legacy`` returned, for people."""
    return _OTHERS[encoding].people if encoding in _OTHERS else _PEOPLE[encoding]


def find_legacy(sample: bytes) -> str | None:
    """Return the older encoding of some lines, as Python calls it; None where that is not safe.

    Args:
        sample: Whole lines with foreign letters, about ``SAMPLED`` bytes.
    """
    if not sample:
        return None
    return _find_script(sample) if _has_foreign_words(sample) else _find_central(sample)


def _has_foreign_words(sample: bytes) -> bool:
    """Return whether foreign letters stand side by side: in Latin words they are single ones."""
    is_high = [byte > 127 for byte in sample]
    padded = [False, *is_high, False]
    together = sum(
        high and (before or after)
        for before, high, after in zip(padded, is_high, padded[2:], strict=False)
    )
    return 2 * together > sum(is_high)


def _find_script(sample: bytes) -> str | None:
    scores: dict[str, float] = {}
    sound: list[str] = []
    for name, match in _rank(sample, (*_OTHERS, _WESTERN)):
        legacy = _OTHERS.get(name)
        if legacy is None:
            continue
        looks_right = legacy.looks_right(_decode(sample, name))
        if looks_right and not legacy.is_alphabet:
            return name
        scores[name] = match.coherence - 3 * match.chaos
        if looks_right and match.coherence >= _LEAST_COHERENCE and match.chaos <= _MOST_CHAOS:
            sound.append(name)
    if not sound:
        return None
    # Of equals the first, which the library holds for the likeliest.
    found = max(sound, key=scores.__getitem__)
    text = _decode(sample, found)
    for name, score in scores.items():
        least = _LEAST_LEAD if name in sound else 0.0
        if scores[found] - score < least and _decode(sample, name) != text:
            return None
    # A capital letter and a quote of the other Greek encoding are odd signs in this one.
    return "iso8859_7" if found == "cp1253" and ("¶" in text or "΅" in text) else found


def _decode(sample: bytes, name: str) -> str:
    return sample.decode(name, "replace")


def _find_central(sample: bytes) -> str | None:
    """Return a Central European encoding if Windows-1252 would have signs inside of words."""
    text = _decode(sample, _WESTERN)
    signs = len(_ODD.findall(text))
    if signs < 5 or 5 * signs < sample.count(b"\n"):
        return None
    ranked = {name for name, _ in _rank(sample, (*_CENTRAL, _WESTERN))}
    sound = [name for name in _CENTRAL if 20 * len(_ODD.findall(_decode(sample, name))) <= signs]
    # Czech has letters in both where Polish has signs in the other.
    return sound[0] if len(sound) == 1 and sound[0] in ranked and _WESTERN not in ranked else None


def _rank(sample: bytes, names: Sequence[str]) -> list[tuple[str, CharsetMatch]]:
    """Return the encodings that a text may be in, the likeliest first, and what speaks for each.

    The library names one encoding for all that read the text alike; the others follow it.
    """
    from charset_normalizer import from_bytes

    found = from_bytes(
        sample, cp_isolation=list(names), preemptive_behaviour=False, enable_fallback=False
    )
    return [
        (name, match)
        for match in found
        for name in (match.encoding, *match.could_be_from_charset[1:])
        if name in names
    ]


def _is_alphabet(block: str) -> Callable[[str], bool]:
    """Return a test whether a text's foreign letters are those of one alphabet."""
    own = re.compile(f"[{block}]")

    def looks_right(text: str) -> bool:
        letters = _FOREIGN.findall(text)
        mine = own.findall("".join(letters))
        return (
            len(mine) >= _FEWEST_OF_ALPHABET
            and len(set(mine)) >= _FEWEST_DIFFERENT
            and len(mine) >= 0.95 * len(letters)
            and 2 * sum(letter.isupper() for letter in mine) < len(mine)
            and len(_MIXED.findall(text)) <= 0.05 * len(letters)
        )

    return looks_right


def _is_japanese(text: str) -> bool:
    letters, kana = len(_FOREIGN.findall(text)), len(_KANA.findall(text))
    return (
        kana >= _FEWEST_DIFFERENT
        and kana + len(_HAN.findall(text)) >= 0.95 * letters
        and kana >= 0.2 * letters
    )


def _is_korean(text: str) -> bool:
    hangul = _HANGUL.findall(text)
    usual = _share_between(hangul, "euc_kr", 0xB0, 0xC8)
    return len(hangul) >= max(_FEWEST, 0.8 * len(_FOREIGN.findall(text))) and usual >= 0.97


def _is_chinese(encoding: str, low: int, high: int) -> Callable[[str], bool]:
    """Return a test whether a text's characters are common Chinese ones by their first byte."""

    def looks_right(text: str) -> bool:
        han = _HAN.findall(text)
        is_han = len(han) >= max(_FEWEST, 0.9 * len(_FOREIGN.findall(text)))
        return is_han and _share_between(han, encoding, low, high) >= 0.9

    return looks_right


def _share_between(letters: Sequence[str], encoding: str, low: int, high: int) -> float:
    """Return the share of letters whose first byte in an encoding lies between two."""
    firsts = [letter.encode(encoding, "replace")[0] for letter in letters]
    return sum(low <= first <= high for first in firsts) / max(len(firsts), 1)


_cyrillic, _greek = _is_alphabet("\u0400-\u04ff"), _is_alphabet("\u0370-\u03ff")
_OTHERS = {
    "cp1251": _Legacy("Cyrillic", _cyrillic, is_alphabet=True),
    "koi8_r": _Legacy("Russian", _cyrillic, is_alphabet=True),
    "koi8_u": _Legacy("Ukrainian", _cyrillic, is_alphabet=True),
    "cp866": _Legacy("Cyrillic", _cyrillic, is_alphabet=True),
    "iso8859_5": _Legacy("Cyrillic", _cyrillic, is_alphabet=True),
    "cp1253": _Legacy("Greek", _greek, is_alphabet=True),
    "cp1255": _Legacy("Hebrew", _is_alphabet("\u0590-\u05ff"), is_alphabet=True),
    "cp1256": _Legacy("Arabic", _is_alphabet("\u0600-\u06ff"), is_alphabet=True),
    "tis_620": _Legacy("Thai", _is_alphabet("\u0e00-\u0e7f"), is_alphabet=True),
    "cp932": _Legacy("Japanese, Shift-JIS", _is_japanese),
    "euc_jp": _Legacy("Japanese", _is_japanese),
    "gb18030": _Legacy("Chinese, GBK", _is_chinese("gb2312", 0xB0, 0xD7)),
    "big5": _Legacy("Chinese, Taiwan", _is_chinese("big5", 0xA4, 0xC6)),
    "cp949": _Legacy("Korean, EUC-KR", _is_korean),
}


@dataclass(frozen=True)
class FoundEncoding:
    """How a file's bytes are to be read.

    Attributes:
        name: As Python calls it.
        note: What a person should know about it; empty where it goes without saying.
    """

    name: str
    note: str = ""


class WrongGuessError(Exception):
    """A file is not UTF-8 further down; whoever guessed begins again."""


class EncodingGuesses:
    """What is known and what is supposed of the encodings of files, while they are read."""

    def __init__(self) -> None:
        self._found: dict[Identity, FoundEncoding] = {}
        self._unproved: set[Identity] = set()
        self._to_read_whole: set[Identity] = set()

    def run(self, work: Callable[[], _T]) -> _T:
        """Return what some work returns, which reads files; done again if a guess was wrong.

        A file that was not read to its end is looked at whole, as if nothing had been guessed.
        """
        token = _GUESSES.set(self)
        try:
            while True:
                try:
                    result = work()
                except WrongGuessError:
                    pass
                except InputError:
                    # What is told must not depend on a guess.
                    if not self._unproved:
                        raise
                else:
                    if not self._unproved:
                        return result
                self._to_read_whole |= self._unproved
                for identity in self._unproved:
                    del self._found[identity]
                self._unproved.clear()
        finally:
            _GUESSES.reset(token)

    def find(self, path: Path) -> FoundEncoding | None:
        """Return what was found of a file, if it was looked at and is still there."""
        return self._found.get(_identify(path)) if path.is_file() else None

    def remember(self, path: Path, found: FoundEncoding, *, is_sure: bool = True) -> None:
        """Keep what was found of a file, or is supposed."""
        identity = _identify(path)
        self._found[identity] = found
        if not is_sure:
            self._unproved.add(identity)

    def may_guess(self, path: Path) -> bool:
        """Return whether a file's beginning is enough."""
        return _identify(path) not in self._to_read_whole

    def watch(self, path: Path, file: IO[bytes]) -> IO[bytes]:
        """Return a file's bytes, checked as they are read where its encoding is supposed."""
        identity = _identify(path)
        if identity not in self._unproved:
            return file
        watched = _Watched(file, lambda: self._unproved.discard(identity))
        return cast("IO[bytes]", io.BufferedReader(watched, _READ_AT_ONCE))


class _Watched(io.RawIOBase):
    """The bytes of a file, all of which must be UTF-8."""

    def __init__(self, file: IO[bytes], on_end: Callable[[], None]) -> None:
        self._file = file
        self._on_end = on_end
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        try:
            self._decoder.decode(data)
        except UnicodeDecodeError as error:
            raise WrongGuessError(str(error)) from error
        if not data:
            # Half a letter at the very end counts for none, as where the file is looked at whole.
            self._on_end()
        buffer[: len(data)] = data
        return len(data)


def current_guesses() -> EncodingGuesses | None:
    """Return the guesses of the work that is being done; None where nothing is guessed."""
    return _GUESSES.get()


def _identify(path: Path) -> Identity:
    return identify(path.stat())


_GUESSES: ContextVar[EncodingGuesses | None] = ContextVar("_GUESSES", default=None)


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
    """Return whether a file's first bytes are text in UTF-16 or without control characters."""
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
