"""Texts as the mean of vectors of their words or pieces of words."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from relabel.features.backbones.registry import require
from relabel.features.records import Content
from relabel.features.text import split_words
from tracin_core.errors import ConfigurationError, InputError

# Words of a text that are read; the rest of a longer one, some 40 pages on, is not seen.
MOST_WORDS = 20_000
# Vectors that are kept of a file, which has the most frequent words first.
MOST_VECTORS = 400_000


class StaticBackbone:
    """A table of vectors: the features of a text are the mean of those of its pieces.

    Attributes:
        size: 0, as whole texts are read.
        dim: Numbers ``D`` of a vector.
    """

    size = 0

    def __init__(self, vectors: npt.NDArray[np.floating]) -> None:
        """Wrap a table, shape ``(V, D)``."""
        self._vectors = vectors
        self.dim = int(vectors.shape[1])

    def compute(self, contents: Sequence[Content]) -> npt.NDArray[np.float32]:
        """Return the features of some texts, shape ``(B, D)``; zeros where nothing is known.

        Raises:
            InputError: If a text is empty.
        """
        features = np.zeros((len(contents), self.dim), dtype=np.float32)
        for row, ids in zip(features, self.find_ids(check_texts(contents)), strict=True):
            if ids:
                row[:] = self._vectors[ids].mean(axis=0, dtype=np.float32)
        return features

    def find_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the rows of the table that each text consists of."""
        raise NotImplementedError


class WordVectors(StaticBackbone):
    """Vectors of whole words."""

    def __init__(self, words: dict[str, int], vectors: npt.NDArray[np.floating]) -> None:
        super().__init__(vectors)
        self._words = words

    def find_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the rows of the known words of each text."""
        known = self._words
        words = (split_words(text, limit=MOST_WORDS) for text in texts)
        return [[known[word] for word in one if word in known] for one in words]


class PieceVectors(StaticBackbone):
    """Vectors of pieces of words, as a tokenizer of Hugging Face cuts them."""

    def __init__(self, tokenizer: Any, vectors: npt.NDArray[np.floating]) -> None:
        super().__init__(vectors)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer

    def find_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the rows of the pieces of each text."""
        cut = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return [[each for each in one.ids[:MOST_WORDS] if each < len(self._vectors)] for one in cut]


def check_texts(contents: Sequence[Content]) -> list[str]:
    """Return contents as texts that have something in them.

    Raises:
        InputError: If one is empty, or no text.
    """
    texts = []
    for content in contents:
        if not isinstance(content, str) or not content.strip():
            raise InputError(
                "The text is empty, expected at least one word. Type or paste a text first."
            )
        # Half a surrogate pair has no UTF-8, which tokenizers work on.
        texts.append(content.encode("utf-8", "replace").decode("utf-8"))
    return texts


def load_pieces(weights: Path, tokenizer: Path) -> PieceVectors:
    """Read a table of vectors, the only one of a safetensors file, and its tokenizer.

    Raises:
        ConfigurationError: If a file is damaged or another one, or a library is missing.
    """
    safetensors = require("safetensors", "reads these weights", "safetensors")
    tokenizers = require("tokenizers", "cuts texts into pieces", "tokenizers")
    try:
        with safetensors.safe_open(weights, framework="numpy") as file:
            tables = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        cutter = tokenizers.Tokenizer.from_str(tokenizer.read_text(encoding="utf-8"))
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise _unreadable(weights, error) from error
    except Exception as error:  # tokenizers raises it for JSON that describes no tokenizer
        if type(error) is not Exception:
            raise
        raise _unreadable(tokenizer, error) from error
    shapes = {name: table.shape for name, table in tables.items()}
    if len(tables) != 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise ConfigurationError(
            f"Found {json.dumps(shapes)[:200]} in {weights}, expected one table of vectors, "
            "pieces by numbers. Give the file of a static embedding."
        )
    return PieceVectors(cutter, next(iter(tables.values())))


def _unreadable(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"The file {path} cannot be read ({str(error)[:200]}); expected a whole table of vectors "
        "with its tokenizer. Download or install it again."
    )


def load_words(path: Path) -> WordVectors:
    """Read vectors in the text format of GloVe, word2vec and fastText; packed by gzip or not.

    Raises:
        ConfigurationError: If a line is not a word and as many numbers as the others have.
    """
    words: dict[str, int] = {}
    rows: list[npt.NDArray[np.float32]] = []
    try:
        with _open_text(path) as file:
            for number, line in enumerate(file, 1):
                parts = line.rstrip().split(" ")
                if number == 1 and len(parts) == 2:  # word2vec's count of words and of numbers
                    continue
                word, row = parts[0], np.array(parts[1:], dtype=np.float32)
                if not len(row) or (rows and len(row) != len(rows[0])):
                    raise ValueError(f"line {number} has {len(row)} numbers")
                if words.setdefault(word, len(rows)) == len(rows):
                    rows.append(row)
                if len(rows) == MOST_VECTORS:
                    break
    except (OSError, ValueError, EOFError) as error:
        raise ConfigurationError(
            f"The vectors in {path} cannot be read ({str(error)[:200]}); expected a word and its "
            "numbers on each line, with blanks between. Give a file as GloVe publishes them."
        ) from error
    if not rows:
        raise ConfigurationError(
            f"Found no vectors in {path}, expected a word and its numbers on each line. Give a "
            "file as GloVe publishes them."
        )
    return WordVectors(words, np.stack(rows))


@contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="\n") as file:
        yield file
