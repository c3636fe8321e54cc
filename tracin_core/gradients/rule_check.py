"""Check a rule alone: a layer, some inputs, and what autograd says of each example."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from tracin_core.errors import GradientError
from tracin_core.gradients.factored import Contribution
from tracin_core.gradients.inspection import ReferenceGradients
from tracin_core.gradients.rules.registry import Rule, find_rule


def check_gradient_rule(layer: nn.Module, *inputs: Tensor, seed: int = 0) -> None:
    """Check that a layer's rule gives every example the gradients that autograd gives it.

    The layer is tried in evaluation mode and in double precision, where rounding and a mistake are
    told apart. It is not changed.

    Args:
        layer: A layer with a rule.
        inputs: Its arguments, B examples along the first axis of each.
        seed: Chooses the gradients at the outputs.

    Raises:
        GradientError: If no rule covers the layer, or the rule fails, gives other gradients or
            changes what it is given; the message names the parameter and the example. Also if the
            inputs prove nothing, because there are none or all gradients are zero.
    """
    layer = copy.deepcopy(layer).double().eval().requires_grad_()
    inputs = tuple(item.double() if item.is_floating_point() else item for item in inputs)
    rule = find_rule(layer)
    if isinstance(rule, str):
        raise GradientError(
            f"Found no gradient rule for {type(layer).__name__} ({rule}); expected one that was "
            "registered with @gradient_rule. Import the file that registers it."
        )
    wanted = dict(layer.named_parameters(recurse=False))
    with torch.enable_grad():
        outputs = layer(*inputs)
    if not isinstance(outputs, Tensor) or not len(outputs):
        kind = "no examples" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise GradientError(
            f"The layer {type(layer).__name__} gives {kind} for these inputs; expected one tensor "
            "with an example a row. Pass inputs of at least one example."
        )
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)
    deltas = deltas.to(outputs.device)
    found = _apply(rule, layer, inputs, deltas, tuple(wanted))
    proved: set[str] = set()
    for row in range(len(outputs)):
        truths = _differentiate_alone(layer, inputs, deltas, row, wanted)
        reference = ReferenceGradients(truths)
        proved |= {name for name in wanted if not reference.is_zero(name)}
        for name in wanted:
            given = found[name].narrow(row, row + 1).instantiate()[0]
            if not reference.agrees_with(name, given):
                raise GradientError(
                    f"The gradient rule {rule.name} is wrong for {name!r} of "
                    f"{type(layer).__name__}: for example {row} it gives "
                    f"{_describe(given, truths[name])}. Expected the gradient of the example "
                    "alone. Mend the rule."
                )
    if unproved := sorted(wanted.keys() - proved):
        raise GradientError(
            f"The gradients of {', '.join(unproved)} are zero for all of these inputs, which any "
            "rule may give by chance. Pass other inputs, such as random numbers."
        )


def _apply(
    rule: Rule,
    layer: nn.Module,
    inputs: tuple[Tensor, ...],
    deltas: Tensor,
    wanted: tuple[str, ...],
) -> dict[str, Contribution]:
    """Return what a rule gives, of copies, because the comparison needs what it was given.

    Raises:
        GradientError: If it fails, or writes to what it is given.
    """
    given = (tuple(item.clone() for item in inputs), deltas.clone())
    weights = {name: layer.get_parameter(name).detach().clone() for name in wanted}
    try:
        with torch.no_grad():
            found = rule.differentiate(layer, *given, wanted)
    except GradientError:
        raise
    # A person's own code, which may raise anything.
    except Exception as error:
        raise GradientError(
            f"The gradient rule {rule.name} failed on {type(layer).__name__} "
            f"({type(error).__name__}: {error}); expected gradients for each of its parameters. "
            "Mend the rule."
        ) from error
    before = [*inputs, deltas, *weights.values()]
    after = [*given[0], given[1], *(layer.get_parameter(name) for name in wanted)]
    if not all(
        torch.equal(one.nan_to_num(), other.nan_to_num())
        for one, other in zip(before, after, strict=True)
    ):
        raise GradientError(
            f"The gradient rule {rule.name} changes in place what it is given, which others read "
            "after it. Let it work on copies."
        )
    return found


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
