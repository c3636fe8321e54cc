"""What must be known of a model before its gradients are: that no example meets another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tracin_core.errors import GradientError
from tracin_core.gradients.agreement import LOOSE_TOLERANCE
from tracin_core.gradients.capture import Objective
from tracin_core.gradients.structure import call_model, find_tensors, map_tensors


def refuse_mixing_layers(model: nn.Module) -> None:
    """Refuse layers that mix the examples of a batch even in evaluation mode.

    Raises:
        GradientError: If a BatchNorm keeps no running statistics.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise GradientError(
                f"Layer {name!r} is a {type(module).__name__} without running statistics: it "
                "normalises with the statistics of the batch, so an example has no gradient of "
                "its own. Expected track_running_stats=True. Train with running statistics, or "
                "use GroupNorm or LayerNorm."
            )


@torch.no_grad()
def refuse_mixed_examples(model: nn.Module, inputs: Any) -> Tensor:
    """Check on three examples that an output depends on its own example and nothing else.

    Returns:
        The outputs, shape ``(3, ...)``.

    Raises:
        GradientError: If outputs change with the company, or from one pass to the next.
    """
    together = first_tensor(call_model(model, inputs))
    swapped = map_tensors(lambda tensor: tensor[[2, 0]], inputs)
    apart = first_tensor(call_model(model, swapped))
    if together.shape[:1] != (3,) or apart.shape[:1] != (2,):
        raise GradientError(
            f"The model returned a tensor of shape {tuple(together.shape)} for three examples; "
            "expected one row for each, examples along the first axis. Wrap the model so that "
            "its outputs begin with the batch axis."
        )
    largest = together.abs().amax().clamp_min(torch.finfo(together.dtype).tiny)
    if not bool(((together[[2, 0]] - apart).abs() <= LOOSE_TOLERANCE * largest).all()):
        if not bool(torch.isfinite(together).all()):
            return together  # reported later, with its example and checkpoint
        raise GradientError(
            "The model's output for an example changes with the other examples of its batch, or "
            "from one pass to the next. Expected each output to depend on its own example alone "
            "in evaluation mode. Look for batch statistics, or for dropout called with "
            "training=True."
        )
    return together


def run_for_outputs(
    model: nn.Module, inputs: Any, targets: Any, objective: Objective | None
) -> tuple[Tensor, ...]:
    """Run a model and return the outputs that count: the logits, or what an objective reads.

    Args:
        model: In evaluation mode.
        inputs: A few examples.
        targets: Their targets.
        objective: A loss of a person's own, which may read several outputs; else ``None``.
    """
    outputs = call_model(model, inputs)
    everything = [t for t in find_tensors(outputs) if t.is_floating_point() and t.requires_grad]
    if objective is None or len(everything) < 2:
        return (first_tensor(outputs),)
    values = objective(outputs, targets)
    if not values.requires_grad:
        return (first_tensor(outputs),)
    found = torch.autograd.grad(values.sum(), everything, retain_graph=True, allow_unused=True)
    read = [t for t, gradient in zip(everything, found, strict=True) if gradient is not None]
    return tuple(read) or (first_tensor(outputs),)


def first_tensor(outputs: Any) -> Tensor:
    """Return the model's main output: the logits, or the first tensor there is."""
    logits = getattr(outputs, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    return next(find_tensors(outputs))
