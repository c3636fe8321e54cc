"""The fixed words that several parts share, as types."""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

# What an example is.
Kind = Literal["image", "text", "table"]
KINDS: tuple[Kind, ...] = ("image", "text", "table")

# What is predicted of an example: one of some classes, or a number.
Task = Literal["classification", "regression"]
TASKS: tuple[Task, ...] = ("classification", "regression")

# Gradients of all layers, or of the last one.
Layers = Literal["all", "last"]
LAYERS: tuple[Layers, ...] = ("all", "last")

# What a scoring computes: the last layer's alone takes about a forward pass.
LayerChoice = Literal["both", "last"]
LAYERS_OF: dict[LayerChoice, tuple[Layers, ...]] = {"both": LAYERS, "last": ("last",)}

# What torch, NumPy and a database take as a seed, all three.
LARGEST_SEED = 2**63 - 1
# Of a step size: what single precision holds.
LARGEST_RATE = 3e38
# What a row's number is in either database.
LARGEST_NUMBER = 2**31 - 1
