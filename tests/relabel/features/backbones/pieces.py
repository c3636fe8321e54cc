"""Small tables of vectors of pieces of words, as libraries and packages bring them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers
from safetensors.numpy import save_file


def write_pieces(
    weights: Path, tokenizer: Path, words: Sequence[str] = ("red", "blue"), **tables: np.ndarray
) -> None:
    """Write vectors of the piece "[UNK]" and of some words, and what cuts texts into these."""
    for path in (weights, tokenizer):
        path.parent.mkdir(parents=True, exist_ok=True)
    known = {word: number for number, word in enumerate(("[UNK]", *words))}
    unknown = {"unk_token": "[UNK]"}
    cutter = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, **unknown))
    cutter.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    cutter.enable_padding(length=64)
    cutter.enable_truncation(2)
    cutter.save(str(tokenizer))
    save_file(tables, weights)


def write_package(place: Path, words: Sequence[str], table: np.ndarray) -> None:
    """Write what stands for the package wordllama, which ``place`` on the path makes known."""
    package = place / "wordllama"
    write_pieces(
        package / "weights" / "l2_supercat_256.safetensors",
        package / "tokenizers" / "l2_supercat_tokenizer_config.json",
        words,
        table=table,
    )
    (package / "__init__.py").write_text("raise RuntimeError('was run')")
