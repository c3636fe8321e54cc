"""Texts, cut into lower-case words of any script and encoded as the word ids a network takes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from tracin_core.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from torch import Tensor


# Longer "words" are encoded data or a stuck key; nothing is lost by comparing their beginnings.
MAX_WORD_LENGTH = 64

# Japanese kana and Han characters stand without blanks between words: each counts as one.
_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_EMOJI = "\U0001f000-\U0001faff\u2600-\u27bf"
# Vowel signs and other marks belong to the letter before them (Devanagari, Arabic, Thai, ...),
# though `\w` leaves out most of them.
_MARK = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0903\u093a-\u094f"
    "\u0981-\u0983\u09bc-\u09cd\u0a01-\u0a4d\u0a81-\u0acd\u0b01-\u0b4d\u0b82-\u0bcd\u0c00-\u0c56"
    "\u0c81-\u0cd6\u0d00-\u0d4d\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
)
_LETTER = rf"(?:[^\W{_SINGLE}]|[{_MARK}])"
_WORD = re.compile(rf"[{_SINGLE}{_EMOJI}]|{_LETTER}+(?:['\u2019]{_LETTER}+)*")


def split_words(text: str, *, limit: int) -> list[str]:
    """Return the first words of a text, in compatibility form (NFKC) and case-folded.

    Args:
        text: Any text; only as much of it is read as the limit can need.
        limit: Most words to return.

    Returns:
        Words without blanks and punctuation, at most ``MAX_WORD_LENGTH`` characters each; a Han
        character, kana or emoji is a word of its own.
    """
    beginning = text[: limit * MAX_WORD_LENGTH]
    folded = unicodedata.normalize("NFKC", beginning).casefold()
    return [match[0][:MAX_WORD_LENGTH] for match in islice(_WORD.finditer(folded), limit)]


@dataclass(frozen=True)
class PlacedWord:
    """A word of a text and where it stands.

    Attributes:
        word: As ``split_words`` returns it.
        start: Its first character in the text.
        stop: The one behind its last.
    """

    word: str
    start: int
    stop: int


def find_words(text: str, *, limit: int) -> list[PlacedWord]:
    """Return what ``split_words`` returns, with the place of each word in the text as it is.

    Compatibility form and case folding change lengths, so the text is folded one character at a
    time, with the marks that belong to it. Letters that fold as a whole alone would give another
    word; of 21,767 film reviews and headlines none had one.

    Args:
        text: Any text; only as much of it is read as the limit can need.
        limit: Most words to return.
    """
    beginning = text[: limit * MAX_WORD_LENGTH]
    if beginning.isascii():
        length = len(beginning)
        folded, starts, stops = beginning.casefold(), [*range(length)], [*range(1, length + 1)]
    else:
        folded, starts, stops = _fold_in_place(beginning)
    return [
        PlacedWord(match[0][:MAX_WORD_LENGTH], starts[match.start()], stops[match.end() - 1])
        for match in islice(_WORD.finditer(folded), limit)
    ]


# Vowels and finals of Korean syllables, and the sound marks of narrow kana: they join the letter
# before them, though they are letters by themselves.
_JOINING = frozenset([*map(chr, range(0x1160, 0x1200)), "\uff9e", "\uff9f"])


def _fold_in_place(text: str) -> tuple[str, list[int], list[int]]:
    """Return a folded text, and of each character of it where its origin begins and ends."""
    begins = [
        place
        for place, letter in enumerate(text)
        if not place
        or (not unicodedata.category(letter).startswith("M") and letter not in _JOINING)
    ]
    parts, starts, stops = [], [], []
    for start, stop in zip(begins, [*begins[1:], len(text)], strict=True):
        part = unicodedata.normalize("NFKC", text[start:stop]).casefold()
        parts.append(part)
        starts += [start] * len(part)
        stops += [stop] * len(part)
    return "".join(parts), starts, stops


def count_words(texts: Iterable[str], *, limits: Sequence[int]) -> tuple[int, Counter[str]]:
    """Return how many words to read of each text, and in how many texts each occurs among them.

    Args:
        texts: Read once.
        limits: Numbers of words to choose from, ascending. The first is taken that reaches the end
            of 95 in 100 texts, or else the last: what longer ones say further on is not seen.
    """
    # By the limit within which a text has a word for the first time.
    counts: list[Counter[str]] = [Counter() for _ in limits]
    ends = [0] * len(limits)
    for text in texts:
        words = split_words(text, limit=limits[-1])
        seen: set[str] = set()
        start = 0
        for place, limit in enumerate(limits):
            new = set(words[start:limit]) - seen
            counts[place].update(new)
            seen |= new
            start = limit
            if len(words) <= limit:
                ends[place] += 1
                break
    chosen, whole = len(limits) - 1, sum(ends)
    for place in range(len(limits)):
        if sum(ends[: place + 1]) >= SHARE_READ * whole:
            chosen = place
            break
    total: Counter[str] = Counter()
    for part in counts[: chosen + 1]:
        total.update(part)
    return limits[chosen], total


# A network's work grows with the words that it reads, of short texts, too. So as many are read as
# reach the end of nearly all texts, between these.
FEWEST_TOKENS, MOST_TOKENS, TOKENS_APART = 128, 512, 128
SHARE_READ = 0.95

PADDING, UNKNOWN = 0, 1
NUM_RESERVED = 2


@dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """How a text becomes a fixed number of word ids.

    Id 0 is padding, id 1 a word outside of the vocabulary, id ``i + 2`` the word
    ``vocabulary[i]``.

    Attributes:
        vocabulary: Known words, lower-case, the most frequent first.
        max_tokens: Words that are read; the rest of a longer text is not seen.
    """

    # Examples that are written at a time, and between two reports.
    rows_at_once: ClassVar[int] = 512

    vocabulary: tuple[str, ...]
    max_tokens: int = 128
    _ids: dict[str, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigurationError(
                f"Found max_tokens = {self.max_tokens}, expected at least 1. "
                "Pass the number of words to read from each text, for example 128."
            )
        ids = {word: i + NUM_RESERVED for i, word in enumerate(self.vocabulary)}
        object.__setattr__(self, "_ids", ids)

    @property
    def num_ids(self) -> int:
        """Return the number of different ids, padding and unknown included."""
        return len(self.vocabulary) + NUM_RESERVED

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        max_words: int = 20_000,
        min_count: int = 2,
        max_tokens: int | None = None,
    ) -> TextEncoder:
        """Fit the vocabulary to the train texts.

        Args:
            texts: Train texts.
            max_words: Most words to know; the most frequent are kept, ties by spelling.
            min_count: A word in fewer texts than this can teach nothing that carries over.
            max_tokens: Words that are read from each text; None for as many as reach the end of 95
                in 100 of them, in steps from 128 to 512.
        """
        limits = [*range(FEWEST_TOKENS, MOST_TOKENS + 1, TOKENS_APART)]
        if max_tokens is not None:
            limits = [max_tokens]
        max_tokens, counts = count_words(texts, limits=limits)
        known = [word for word, count in counts.items() if count >= min_count]
        known.sort(key=lambda word: (-counts[word], word))
        return cls(vocabulary=tuple(known[:max_words]), max_tokens=max_tokens)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Return the shape of what ``read`` returns."""
        return (self.max_tokens,)

    @property
    def stored_type(self) -> str:
        """Return the number type of what ``read`` returns, as NumPy names it."""
        return "int32"

    def knows_any_word(self, text: str) -> bool:
        """Return whether the vocabulary has a word of those that are read of a text."""
        return any(word in self._ids for word in split_words(text, limit=self.max_tokens))

    def encode(self, text: str) -> Tensor:
        """Return a text as word ids, int64, shape ``(max_tokens,)``, padded with 0 at the end.

        Raises:
            InputError: If the text is empty.
        """
        import torch

        return self.to_inputs(torch.from_numpy(self.read(text)))

    def read(self, text: str) -> Any:
        """Return the word ids as they are stored, int32, shape ``(max_tokens,)``.

        Raises:
            InputError: If the text is empty.
        """
        import numpy as np

        if not text.strip():
            raise InputError(
                "The text is empty, expected at least one word. Type or paste a text first."
            )
        words = split_words(text, limit=self.max_tokens)
        # Punctuation alone has no words; it is read as one unknown word, not as nothing.
        ids = [self._ids.get(word, UNKNOWN) for word in words] or [UNKNOWN]
        padded = np.full(self.max_tokens, PADDING, dtype=np.int32)
        padded[: len(ids)] = ids
        return padded

    def read_many(self, texts: Sequence[str]) -> Any:
        """Return several texts as ``read`` returns each, shape ``(B, *stored_shape)``.

        Raises:
            InputError: If one cannot be read.
        """
        import numpy as np

        return np.stack([self.read(text) for text in texts])

    def to_inputs(self, stored: Tensor) -> Tensor:
        """Return what was read, one example or a batch of them, as the network takes it."""
        import torch

        return stored.to(torch.int64)

    def to_json(self) -> dict[str, Any]:
        """Return what ``encoder_from_json`` makes an equal encoder of."""
        return {
            "kind": "text",
            "vocabulary": list(self.vocabulary),
            "max_tokens": self.max_tokens,
        }

    def cache_identity(self) -> dict[str, Any]:
        """Return what decides what ``read`` returns."""
        return self.to_json()
