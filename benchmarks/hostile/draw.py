"""What a kind of network is made from: random choices, data, and a place to register."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
WORDS = 30


class Net(nn.Module):
    """Modules under their names, and a function that runs them; parameters likewise.

    Args:
        run: Called with the network and its inputs.
        parts: Modules and parameters.
    """

    def __init__(self, run: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the function."""
        return self.run(self, *inputs)


@dataclass(frozen=True)
class Subject:
    """A network and its examples.

    Attributes:
        model: In float64; returns logits ``(B, K)``.
        inputs: Of N examples, each ``(N, ...)``.
        key: What the network moves its examples by, as far as it is one number, ``(N,)``.
        classes: K.
    """

    model: nn.Module
    inputs: tuple[Tensor, ...]
    key: Tensor
    classes: int


class Draw:
    """Random choices of one seed, and sizes that a kind may use or leave.

    Args:
        seed: Of the choices; weights and data come from torch's own generator.
        count: Number of examples N.
    """

    def __init__(self, seed: int, count: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  # no secret
        self.count = count
        self.width = self.number(3, 8)
        self.hidden = 2 * self.number(2, 5)
        self.classes = self.number(2, 5)
        self.length = self.number(2, 7)
        self.activate: Callable[[Tensor], Tensor] = self.pick(
            torch.tanh, nn.functional.gelu, nn.functional.silu
        )

    def pick(self, *choices: T) -> T:
        """Return one of the choices."""
        return self.random.choice(choices)

    def number(self, low: int, high: int) -> int:
        """Return a whole number from low to high."""
        return self.random.randint(low, high)

    def vectors(self) -> Tensor:
        """Return ``(N, width)``."""
        return torch.randn(self.count, self.width, dtype=torch.float64)

    def series(self) -> Tensor:
        """Return ``(N, length, width)``."""
        return torch.randn(self.count, self.length, self.width, dtype=torch.float64)

    def texts(self, least: int = 1) -> Tensor:
        """Return word ids ``(N, T)``, zero where a text has ended; lengths as hostile as can be."""
        longest = self.length + 2
        lengths = torch.randint(least, longest + 1, (self.count,))
        way = self.pick("any", "any", "equal", "two lengths", "mirrored")
        if way == "equal":
            lengths[:] = longest
        if way == "two lengths":
            lengths = torch.where(lengths > longest // 2, longest, max(least, longest - 2))
        if way == "mirrored":
            # Any two neighbours have the same number of words together: batches then divide.
            lengths[1::2] = least + longest - lengths[: len(lengths) // 2 * 2 : 2]
        ids = torch.randint(1, WORDS, (self.count, longest))
        return ids * (torch.arange(longest) < lengths.unsqueeze(1))

    def table(self) -> nn.Embedding:
        """Return an embedding of the words, ``width`` numbers each."""
        return nn.Embedding(WORDS, self.width, padding_idx=self.pick(None, 0))

    def linear(self, inputs: int, outputs: int) -> nn.Linear:
        """Return a linear layer, with a bias mostly."""
        return nn.Linear(inputs, outputs, bias=self.pick(True, True, True, False))

    def head(self, inputs: int) -> nn.Linear:
        """Return the layer to the classes."""
        return nn.Linear(inputs, self.classes)

    def finish(self, model: nn.Module, *inputs: Tensor, key: Tensor | None = None) -> Subject:
        """Return the network with its examples."""
        if key is None:
            first = inputs[0].flatten(1)
            key = first[:, 0] if first.is_floating_point() else (first != 0).sum(1)
        return Subject(model.double(), inputs, key, self.classes)


Build = Callable[[Draw], Subject]
# By name: the family it is counted in, and how to make one.
KINDS: dict[str, tuple[str, Build]] = {}


def kind(family: str) -> Callable[[Build], Build]:
    """Register a kind of network under its function's name."""

    def register(build: Build) -> Build:
        KINDS[build.__name__.replace("_", " ")] = (family, build)
        return build

    return register
