"""From a text to the word ids a network takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracin_core.errors import ConfigurationError, InputError
from tracin_core.examples.words import count_words, split_words

if TYPE_CHECKING:
    from torch import Tensor

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
        max_tokens: int = 128,
    ) -> TextEncoder:
        """Make the vocabulary from the train texts.

        Args:
            texts: Train texts.
            max_words: Most words to know; the most frequent are kept, ties by spelling.
            min_count: A word in fewer texts than this can teach nothing that carries over.
            max_tokens: Words that are read from each text.
        """
        counts = count_words(texts, max_tokens=max_tokens)
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
