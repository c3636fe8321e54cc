"""Texts as sparse rows: TF-IDF of their words and pairs of words, each row of length one.

The whole text counts, not its beginning, and what stands side by side ("not good") is a term of its
own. A row is read in a fraction of a millisecond and needs no weights from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from relabel.features.ragged import pad_rows
from relabel.features.text import split_words
from tracin_core.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from torch import Tensor


# Words of a text that count; the rest of a longer one, some 40 pages on, is not seen.
MOST_WORDS = 20_000
# Of 50,000, 100,000 and 200,000 terms a logistic regression on 12,500 film reviews agreed with the
# held-out labels in 89.0, 88.8 and 88.6%; on 10,000 headlines 50,000 and all 59,000 were level.
MOST_TERMS = 50_000
# A term of one text alone says nothing of another one.
LEAST_TEXTS = 2
# A table has a row for each term and a column for each class. With hundreds of classes it is
# kept to so many numbers (40 MB a checkpoint), and to so many terms at least.
MOST_NUMBERS = 10_000_000
FEWEST_TERMS = 10_000
# Different terms that are counted at a time, some 400 MB of them. Beyond it the rarest so far are
# forgotten, as lossy counting does (Manku and Motwani 2002), and come too late for the table.
MOST_COUNTED = 3_000_000
# What a saved table may unpack to, in bytes: several times what ``MOST_TERMS`` take.
_MOST_UNPACKED = 1 << 26
_PACKING_LEVEL = 6


@dataclass(frozen=True, kw_only=True)
class NgramEncoder:
    """How a text becomes a sparse row of term weights.

    A weight is the number of times that a term occurs, times its inverse document frequency
    ``ln((1 + n) / (1 + d)) + 1`` of ``n`` train texts, ``d`` of them with the term; a row is
    then divided by its length. That is what ``TfidfVectorizer`` of scikit-learn computes.

    Attributes:
        terms: Words, and pairs of words with a blank between; those of most texts first.
        counts: Train texts with each term, shape ``(V,)``.
        num_texts: Train texts.
        max_words: Words of a text that are read.
    """

    # Examples that are written at a time, and between two reports.
    rows_at_once: ClassVar[int] = 512

    terms: tuple[str, ...]
    counts: tuple[int, ...]
    num_texts: int
    max_words: int = MOST_WORDS
    _ids: dict[str, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        ids = {term: number for number, term in enumerate(self.terms)}
        if len(ids) != len(self.terms) or len(self.counts) != len(self.terms):
            raise ConfigurationError(
                f"Found {len(self.terms)} terms, {len(ids)} of them different, with "
                f"{len(self.counts)} counts; expected different ones with a count each. Train "
                "the project again."
            )
        if self.max_words < 1 or any(not 1 <= n <= self.num_texts for n in self.counts):
            raise ConfigurationError(
                f"Found terms of {min(self.counts, default=0)} to {max(self.counts, default=0)} "
                f"texts, of which {self.max_words} words are read; expected 1 to "
                f"{self.num_texts} texts and at least one word. Train the project again."
            )
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        num_outputs: int = 1,
        max_terms: int = MOST_TERMS,
        max_words: int = MOST_WORDS,
    ) -> NgramEncoder:
        """Fit the table of terms to the train texts.

        Args:
            texts: Train texts, read once.
            num_outputs: Logits ``K`` of the network that is to read the rows; with many of them
                fewer terms are kept, so that their product stays small.
            max_terms: Most terms to know; those of most texts are kept, ties by spelling.
            max_words: Words that are read from each text.
        """
        counts, num_texts = count_terms(texts, max_words=max_words)
        most = min(max_terms, max(MOST_NUMBERS // max(num_outputs, 1), FEWEST_TERMS))
        known = [term for term, count in counts.items() if count >= LEAST_TEXTS]
        known.sort(key=lambda term: (-counts[term], term))
        known = known[:most]
        return cls(
            terms=tuple(known),
            counts=tuple(counts[term] for term in known),
            num_texts=num_texts,
            max_words=max_words,
        )

    @property
    def num_terms(self) -> int:
        """Return the number of terms ``V``."""
        return len(self.terms)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Return the shape of what ``read`` returns; -1 where it differs from text to text."""
        return (-1, 2)

    @property
    def stored_type(self) -> str:
        """Return the number type of what ``read`` returns, as NumPy names it."""
        return "int32"

    @cached_property
    def inverse_frequencies(self) -> npt.NDArray[np.float64]:
        """Return the inverse document frequency of each term, shape ``(V,)``."""
        counts = np.array(self.counts, dtype=np.float64)
        return np.log((1.0 + self.num_texts) / (1.0 + counts)) + 1.0

    def find_ids(self, words: Sequence[str]) -> tuple[list[int | None], list[int | None]]:
        """Return the ids of a text's words ``(W,)`` and of its pairs ``(W - 1,)``, in order."""
        get = self._ids.get
        return [get(word) for word in words], [get(pair) for pair in _join_pairs(words)]

    def knows_any_word(self, text: str) -> bool:
        """Return whether the table has a word of a text."""
        words = split_words(text, limit=self.max_words)
        return any(word in self._ids for word in words)

    def encode(self, text: str) -> tuple[Tensor, Tensor]:
        """Return a text as term ids ``(L,)`` and their weights ``(L,)``.

        Raises:
            InputError: If the text is empty.
        """
        import torch

        return self.to_inputs(torch.from_numpy(pad_rows([self.read(text)])[0]))

    def read(self, text: str) -> npt.NDArray[np.int32]:
        """Return a text's row as it is stored: ids, and the bits of the weights.

        Args:
            text: The text.

        Returns:
            Int32, shape ``(L, 2)``: the id of each different term in ascending order, and its
            weight in single precision, whose bits are read as a whole number. A text without a
            known term has no entries; only the network's constant part speaks of it.

        Raises:
            InputError: If the text is empty.
        """
        if not text.strip():
            raise InputError(
                "The text is empty, expected at least one word. Type or paste a text first."
            )
        words = split_words(text, limit=self.max_words)
        get = self._ids.get
        found = [get(term) for term in (*words, *_join_pairs(words))]
        ids, counts = np.unique([i for i in found if i is not None], return_counts=True)
        row = np.empty((len(ids), 2), dtype=np.int32)
        if len(ids):
            ids = ids.astype(np.int64)
            weights = counts * self.inverse_frequencies[ids]
            weights /= np.linalg.norm(weights)
            row[:, 0] = ids
            row[:, 1] = weights.astype(np.float32).view(np.int32)
        return row

    def read_many(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Return the rows of several texts, filled up to one length, shape ``(B, L, 2)``.

        Raises:
            InputError: If one is empty.
        """
        return pad_rows([self.read(text) for text in texts])

    def to_inputs(self, stored: Tensor) -> tuple[Tensor, Tensor]:
        """Return stored rows of one length as the network takes them.

        Args:
            stored: Int32, shape ``(..., L, 2)``; see ``relabel.features.ragged``.

        Returns:
            Term ids, int64, and their weights, float32, both ``(..., L)``.
        """
        import torch

        weights = stored[..., 1].contiguous().view(torch.float32)
        return stored[..., 0].to(torch.int64), weights

    def cache_identity(self) -> dict[str, Any]:
        """Return what decides the stored rows."""
        return {
            "kind": "ngrams",
            "terms_sha256": hashlib.sha256(self._to_lines()).hexdigest(),
            "num_texts": self.num_texts,
            "max_words": self.max_words,
        }

    def to_json(self) -> dict[str, Any]:
        """Return what ``encoder_from_json`` makes an equal encoder of.

        The table is packed: of 50,000 terms 0.3 MB instead of 1, and one text that is read in
        under a millisecond by whoever wants another part of the file.
        """
        packed = zlib.compress(self._to_lines(), _PACKING_LEVEL)
        return {
            "kind": "ngrams",
            "num_texts": self.num_texts,
            "max_words": self.max_words,
            "num_terms": self.num_terms,
            "terms": base64.b64encode(packed).decode("ascii"),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> NgramEncoder:
        """Return the encoder that ``to_json`` described.

        Raises:
            ValueError: If the table is damaged, or larger than any that is written here.
        """
        unpacking = zlib.decompressobj()
        try:
            packed = base64.b64decode(data["terms"], validate=True)
            lines = unpacking.decompress(packed, _MOST_UNPACKED)
        except (zlib.error, TypeError) as error:
            raise ValueError(f"its table of terms cannot be unpacked: {error}") from error
        if unpacking.unconsumed_tail or not unpacking.eof:
            raise ValueError("its table of terms is cut short or too large")
        pairs = [line.split(" ", 1) for line in lines.decode("utf-8").split("\n") if line]
        return cls(
            terms=tuple(term for _, term in pairs),
            counts=tuple(int(count) for count, _ in pairs),
            num_texts=int(data["num_texts"]),
            max_words=int(data["max_words"]),
        )

    def _to_lines(self) -> bytes:
        """Return the table as it is packed: a line of count and term each."""
        pairs = zip(self.counts, self.terms, strict=True)
        return "\n".join(f"{count} {term}" for count, term in pairs).encode()


def count_terms(texts: Iterable[str], *, max_words: int) -> tuple[Counter[str], int]:
    """Return in how many texts each word and each pair of words occurs, and the texts.

    Of more than ``MOST_COUNTED`` different ones the rarest so far are forgotten.
    """
    counts: Counter[str] = Counter()
    num_texts, floor = 0, 0
    for text in texts:
        words = split_words(text, limit=max_words)
        counts.update({*words, *_join_pairs(words)})
        num_texts += 1
        if len(counts) > MOST_COUNTED:
            floor += 1
            counts = Counter({term: count for term, count in counts.items() if count > floor})
    return counts, num_texts


def _join_pairs(words: Sequence[str]) -> list[str]:
    return [f"{first} {second}" for first, second in pairwise(words)]
