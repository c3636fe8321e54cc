"""A published architecture, its inputs and its classification head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CLASSES, WORDS = 5, 60
# Batches of four, the last one short.
EXAMPLES, BATCH = 10, 4


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        model: With random weights, in float32.
        inputs: Of each example: a tensor, or a dict of tensors.
        head: Names of the parameters that map the last features to the classes.
        loss: A callable ``(outputs, targets) -> (B,)``; cross-entropy where ``None``.
    """

    model: nn.Module
    inputs: list[Any]
    head: tuple[str, ...]
    loss: Callable[[Any, Tensor], Tensor] | None = None


# By name: where it is from, and how to make one.
ARCHITECTURES: dict[str, tuple[str, Callable[[], Subject]]] = {}


def register(source: str, name: str, build: Callable[[], Subject]) -> None:
    """Add an architecture.

    Raises:
        ValueError: If there is one of this name.
    """
    if name in ARCHITECTURES:
        raise ValueError(f"Found two architectures {name!r}; expected one. Rename the second.")
    ARCHITECTURES[name] = (source, build)


def images(model: nn.Module, head: str | tuple[str, ...], side: int, channels: int = 3) -> Subject:
    """Return a subject that sees images."""
    prefixes = (head,) if isinstance(head, str) else head
    return Subject(
        model,
        list(torch.randn(EXAMPLES, channels, side, side)),
        find_head(model, prefixes),
    )


def texts(length: int = 10) -> tuple[Tensor, Tensor]:
    """Return word ids ``(N, T)``, padded with zero and ended by a two, and their mask."""
    lengths = torch.randint(4, length + 1, (EXAMPLES,))
    lengths[0] = length
    places = torch.arange(length)
    ids = torch.randint(3, WORDS, (EXAMPLES, length))
    ids[places == (lengths - 1).unsqueeze(1)] = 2
    mask = (places < lengths.unsqueeze(1)).long()
    return ids * mask, mask


def find_head(model: nn.Module, prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the parameters of some modules, or the parameters of these names.

    Raises:
        ValueError: If there are none.
    """
    names = [name for name, _ in model.named_parameters()]
    found = tuple(
        name for name in names if any(name == p or name.startswith(f"{p}.") for p in prefixes)
    )
    if not found:
        raise ValueError(f"Found no parameters of {prefixes}; expected the head's. Name it.")
    return found
