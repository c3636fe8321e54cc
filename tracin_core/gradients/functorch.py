"""Per-example gradients by ``torch.func`` of whatever no rule covers: slower, and always right.

One example's objective is differentiated and mapped over the batch. Models that cannot be mapped
(data-dependent control flow, some recurrent kernels) go one example at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tracin_core.gradients.hooks import Objective
from tracin_core.gradients.inspection import mistakes_single_examples
from tracin_core.gradients.nested import call_model, find_tensors, map_tensors

FallbackMethod = Literal["torch.func", "one example at a time"]

# Gradients held at once, in numbers; torch.func keeps several copies of them while it works.
FALLBACK_NUMBERS = 16_000_000


class _Call(nn.Module):
    """A model behind one positional argument, so that weights can be swapped in by name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Any:
        return call_model(self.model, inputs)


def fallback_gradients(
    model: nn.Module,
    weights: dict[str, Tensor],
    inputs: Any,
    targets: Any,
    objective: Objective,
    method: FallbackMethod,
) -> dict[str, Tensor]:
    """Return whole per-example gradients of some parameters.

    Args:
        model: In evaluation mode, with all weights in place.
        weights: The parameters wanted, by name, as they are in place.
        inputs: A batch of inputs, examples along the first axis of every tensor.
        targets: Their targets, or ``None``.
        objective: What is differentiated.
        method: How.

    Returns:
        For each name, shape ``(B, *shape)``.
    """
    if method == "torch.func":
        return _map_over_examples(model, weights, inputs, targets, objective)
    size = len(next(find_tensors(inputs)))
    times = 2 if mistakes_single_examples(model) else 1
    rows = [
        _differentiate_one(
            model, weights, _pick(inputs, i, times), _pick(targets, i, times), objective
        )
        for i in range(size)
    ]
    return {name: torch.stack([row[i] for row in rows]) for i, name in enumerate(weights)}


def _map_over_examples(
    model: nn.Module,
    weights: dict[str, Tensor],
    inputs: Any,
    targets: Any,
    objective: Objective,
) -> dict[str, Tensor]:
    caller = _Call(model)
    leaves = list(find_tensors((inputs, targets)))

    def value_of_one(parameters: dict[str, Tensor], tensors: Sequence[Tensor]) -> Tensor:
        rows = iter(tensors)
        example, target = map_tensors(lambda _: next(rows).unsqueeze(0), (inputs, targets))
        named = {f"model.{name}": value for name, value in parameters.items()}
        return objective(functional_call(caller, named, (example,)), target).squeeze(0)

    numbers = sum(value.numel() for value in weights.values())
    mapped = vmap(
        grad(value_of_one), in_dims=(None, 0), chunk_size=max(1, FALLBACK_NUMBERS // numbers)
    )
    detached = {name: value.detach() for name, value in weights.items()}
    # Fused attention has no rule to be mapped by: torch warns and goes example by example. Its
    # mathematical form has one.
    with (
        torch.enable_grad(),
        sdpa_kernel(SDPBackend.MATH),
        _forbid_casts(model),
        warnings.catch_warnings(),
    ):
        # torch's word on its own speed; `coverage` says what goes this way.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        gradients: dict[str, Tensor] = mapped(detached, tuple(leaves))
    return {name: value.detach() for name, value in gradients.items()}


@contextmanager
def _forbid_casts(model: nn.Module) -> Iterator[None]:
    """Refuse ``module.to(...)`` inside of a forward pass that is mapped.

    It puts other data into parameters that torch.func has wrapped; the next operation that
    reads them ends the process (transformers' SwitchTransformers casts its router so).
    """

    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        raise RuntimeError("a module is cast or moved within its forward pass")

    modules = list(model.modules())
    try:
        for module in modules:
            vars(module)["_apply"] = refuse
        yield
    finally:
        for module in modules:
            vars(module).pop("_apply", None)


def _differentiate_one(
    model: nn.Module, weights: dict[str, Tensor], inputs: Any, targets: Any, objective: Objective
) -> list[Tensor]:
    with torch.enable_grad():
        # The first row is the example; a second one only keeps it company.
        value = objective(call_model(model, inputs), targets)[0]
        if not value.requires_grad:
            return [torch.zeros_like(weight) for weight in weights.values()]
        gradients = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
    return [
        torch.zeros_like(weight) if gradient is None else _to_dense(gradient)
        for gradient, weight in zip(gradients, weights.values(), strict=True)
    ]


def _to_dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def _pick(value: Any, index: int, times: int) -> Any:
    return map_tensors(lambda tensor: tensor[[index] * times], value)
