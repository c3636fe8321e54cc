"""The slow, obvious versions: one example, one backward pass, one dot product."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core import Checkpoint

# float64: rounding only.
EXACT = {"rtol": 1e-9, "atol": 1e-11}
# float32 beside the float64 oracle.
SINGLE = {"rtol": 1e-4, "atol": 1e-7}


def call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def add_axis(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: add_axis(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(add_axis(item) for item in value)
    return torch.as_tensor(value).unsqueeze(0)


def gradients_of_one(
    model: nn.Module,
    example: tuple[Any, Any],
    loss: Callable[[Any, Any], Tensor],
    names: Sequence[str] | None = None,
) -> Tensor:
    """Gradient of one example's loss, all trainable parameters end to end, shape (P,)."""
    inputs, target = example
    chosen = {
        name: value
        for name, value in model.named_parameters()
        if value.requires_grad and (names is None or name in names)
    }
    value = loss(call(model, add_axis(inputs)), None if target is None else add_axis(target)).sum()
    found = torch.autograd.grad(value, list(chosen.values()), allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g.to_dense()).flatten()
            for p, g in zip(chosen.values(), found, strict=True)
        ]
    )


def per_example_gradients(
    model: nn.Module,
    examples: Sequence[tuple[Any, Any]],
    loss: Callable[[Any, Any], Tensor],
    names: Sequence[str] | None = None,
) -> Tensor:
    """Gradients of every example's loss in evaluation mode, shape (N, P)."""
    model = copy.deepcopy(model).eval()
    rows = [gradients_of_one(model, examples[i], loss, names) for i in range(len(examples))]
    return torch.stack(rows)


def influence(
    model: nn.Module,
    checkpoints: Sequence[Checkpoint],
    train: Sequence[tuple[Any, Any]],
    test: Sequence[tuple[Any, Any]],
    loss: Callable[[Any, Any], Tensor],
    names: Sequence[str] | None = None,
    test_loss: Callable[[Any, Any], Tensor] | None = None,
) -> Tensor:
    """TracInCP, one dot product at a time, shape (N, M)."""
    total = torch.zeros(len(train), len(test), dtype=torch.float64)
    for checkpoint in checkpoints:
        replica = copy.deepcopy(model)
        replica.load_state_dict(checkpoint.weights)
        left = per_example_gradients(replica, train, loss, names).double()
        right = per_example_gradients(replica, test, test_loss or loss, names).double()
        for n in range(len(train)):
            for m in range(len(test)):
                total[n, m] += checkpoint.learning_rate * torch.dot(left[n], right[m])
    return total
