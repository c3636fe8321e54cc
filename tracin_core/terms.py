"""The fixed words that several parts share, as types."""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

# Gradients of all layers, or of the last one.
Layers = Literal["all", "last"]
