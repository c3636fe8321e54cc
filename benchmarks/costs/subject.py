"""A network at a real width, with examples to score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLASSES = 10


@dataclass(frozen=True)
class Costed:
    """What is timed.

    Attributes:
        model: In evaluation mode, with random weights; takes the inputs by position and returns
            logits of ``CLASSES`` classes.
        inputs: Of all examples, ``(N, ...)`` each.
        batch: Examples of a batch.
    """

    model: nn.Module
    inputs: tuple[Tensor, ...]
    batch: int

    @property
    def labels(self) -> Tensor:
        """A class for each example, ``(N,)``."""
        return torch.arange(len(self.inputs[0])) % CLASSES


# By name: the library it is from, and how to make one.
NETWORKS: dict[str, tuple[str, Callable[[], Costed]]] = {}


def register(source: str, name: str, build: Callable[[], Costed]) -> None:
    """Add a network.

    Raises:
        ValueError: If there is one of this name.
    """
    if name in NETWORKS:
        raise ValueError(f"Found two networks {name!r}; expected one. Rename the second.")
    NETWORKS[name] = (source, build)
