"""Check a gradient rule alone: a layer, some inputs, and autograd's gradients of each example."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from tracin_core.errors import GradientError
from tracin_core.gradients.inspection import ReferenceGradients
from tracin_core.gradients.rules.registry import find_rule


def check_gradient_rule(layer: nn.Module, *inputs: Tensor, seed: int = 0) -> None:
    """Check that a layer's rule gives every example the gradients that autograd gives it.

    The layer is tried in evaluation mode and in double precision, where rounding and a mistake are
    told apart. It is not changed.

    Args:
        layer: A layer with a rule.
        inputs: Its arguments, B examples along the first axis of each.
        seed: Chooses the gradients at the outputs.

    Raises:
        GradientError: If no rule covers the layer, or the rule fails or gives other gradients; the
            message names the parameter and the example.
    """
    layer = copy.deepcopy(layer).double().eval().requires_grad_()
    inputs = tuple(item.double() if item.is_floating_point() else item for item in inputs)
    rule = find_rule(layer)
    if isinstance(rule, str):
        raise GradientError(
            f"Found no gradient rule for {type(layer).__name__} ({rule}); expected one that was "
            "registered with @gradient_rule. Import the file that registers it."
        )
    expected = dict(layer.named_parameters(recurse=False))
    with torch.enable_grad():
        outputs = layer(*inputs)
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)
    deltas = deltas.to(outputs.device)
    with torch.no_grad():
        found = rule.differentiate(layer, inputs, deltas, tuple(expected))
    for row in range(len(outputs)):
        truths = _differentiate_alone(layer, inputs, deltas, row, expected)
        reference = ReferenceGradients(truths)
        for name in expected:
            by_rule = found[name].narrow(row, row + 1).instantiate()[0]
            if not reference.agrees_with(name, by_rule):
                raise GradientError(
                    f"The gradient rule {rule.name} is wrong for {name!r} of "
                    f"{type(layer).__name__}: for example {row} it gives "
                    f"{_describe(by_rule, truths[name])}. Expected the gradient of the example "
                    "alone. Mend the rule."
                )


def _differentiate_alone(
    layer: nn.Module,
    inputs: tuple[Tensor, ...],
    deltas: Tensor,
    row: int,
    wanted: dict[str, nn.Parameter],
) -> dict[str, Tensor]:
    """Return one example's gradients by autograd, by parameter name."""
    with torch.enable_grad():
        outputs = layer(*(item[row : row + 1] for item in inputs))
    found = torch.autograd.grad(
        outputs, list(wanted.values()), deltas[row : row + 1], allow_unused=True
    )
    return {
        name: torch.zeros_like(value) if gradient is None else gradient.to_dense()
        for (name, value), gradient in zip(wanted.items(), found, strict=True)
    }


def _describe(given: Tensor, expected: Tensor) -> str:
    """Return how two gradients differ, at the number where they differ most."""
    if given.shape != expected.shape:
        return f"shape {tuple(given.shape)}, and autograd {tuple(expected.shape)}"
    index = int((given - expected).abs().flatten().nan_to_num(torch.inf).argmax())
    numbers = [float(item.flatten()[index]) for item in (given, expected)]
    return f"{numbers[0]:.6g} where autograd gives {numbers[1]:.6g}"
