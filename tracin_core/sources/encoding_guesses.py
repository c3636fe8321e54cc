"""A text file's encoding, taken from its beginning and proved while its rows are read.

Whether a file is UTF-8 is known at its end only. So as not to read a large one twice, UTF-8 is
supposed if its first megabytes are, and every byte is checked on the way through the rows. Where
one is wrong, the file is looked at whole and its rows are read again.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from tracin_core.errors import InputError
from tracin_core.sources.shared_files import Identity, identify

# Bytes at a file's beginning; what is not longer is looked at whole before anything is read.
GUESSED_FROM = 1 << 22
_READ_AT_ONCE = 1 << 17  # bytes
_T = TypeVar("_T")


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
