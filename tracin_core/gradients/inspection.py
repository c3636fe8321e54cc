"""What must be known of a model before its gradients are: its last layer, and that it is sound."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tracin_core.errors import GradientError
from tracin_core.gradients.agreement import LOOSE_TOLERANCE
from tracin_core.gradients.graph import find_parameter_uses
from tracin_core.gradients.output_rows import find_output_tensors
from tracin_core.gradients.structure import call_model, find_tensors, map_tensors

# Largest difference of an output between a batch and half of it, relative to the largest output:
# what rounding leaves in deep networks, tens of times over.
COMPANY_TOLERANCES = {torch.float64: 1e-4, torch.float32: 1e-3}


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


def mistakes_single_examples(model: nn.Module) -> bool:
    """Whether torch may be wrong about a batch of one.

    In evaluation mode, and for gradients that lie in memory in another order than the inputs,
    torch's BatchNorm differentiates a single image wrongly (seen in torch 2.14 on processors:
    as large as the gradient itself). Two images are differentiated right.
    """
    return any(isinstance(module, _BatchNorm) for module in model.modules())


@torch.no_grad()
def refuse_mixed_examples(model: nn.Module, inputs: Any) -> Tensor:
    """Check on three examples that an output depends on its own example and nothing else.

    Returns:
        The outputs, shape ``(3, ...)``.

    Raises:
        GradientError: If outputs change with the company, or from one pass to the next.
    """
    together = _first_tensor(call_model(model, inputs))
    swapped = map_tensors(lambda tensor: tensor[[2, 0]], inputs)
    apart = _first_tensor(call_model(model, swapped))
    if together.shape[:1] != (3,) or apart.shape[:1] != (2,):
        raise GradientError(
            f"The model returned a tensor of shape {tuple(together.shape)} for three examples; "
            "expected one row for each, examples along the first axis. Wrap the model so that "
            "its outputs begin with the batch axis."
        )
    if together.shape[1:] != apart.shape[1:]:
        raise GradientError(
            f"The model returned {tuple(together.shape)} for three examples and "
            f"{tuple(apart.shape)} for two of them, so each is compared with the others of its "
            "batch; expected outputs of an example that depend on it alone. Wrap the model so "
            "that it returns one row of its own for each example, such as its embedding."
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


@torch.no_grad()
def refuse_company(model: nn.Module, inputs: Any, outputs: Any) -> None:
    """Check that the outputs of a batch are those of its halves.

    Args:
        model: In evaluation mode, with the weights of interest in place.
        inputs: The batch.
        outputs: What the model returned for it.

    Raises:
        GradientError: If an example's output changes with the other examples.
    """
    together = _first_tensor(outputs).detach()
    size = len(together)
    if size < 2:
        return
    half = size // 2

    def run(part: slice) -> Tensor:
        return _first_tensor(call_model(model, map_tensors(lambda tensor: tensor[part], inputs)))

    parts = [run(slice(half, None)), run(slice(None, half))]
    if any(part.shape[1:] != together.shape[1:] for part in parts):
        return  # as many numbers as the longest example has: compared where they are scored
    apart = torch.cat([parts[1], parts[0]])
    largest = together.abs().amax().clamp_min(torch.finfo(together.dtype).tiny)
    off = (together - apart).abs() > COMPANY_TOLERANCES.get(
        together.dtype, LOOSE_TOLERANCE
    ) * largest
    if bool(off.any()) and bool(torch.isfinite(together).all()):
        row = int(off.flatten(1).any(1).long().argmax())
        raise GradientError(
            f"The model's output for example {row} of a batch of {size} is another one than in "
            f"half of that batch (off by {float((together - apart).abs()[row].max()):.3g}). "
            "Expected each output to depend on its own example alone in evaluation mode. Look "
            "for a capacity that the examples of a batch share, for statistics over the batch, "
            "or for a branch that the whole batch takes."
        )


def find_last_layer(model: nn.Module, inputs: Any) -> str:
    """Find the module that holds the last trainable parameters that produce the outputs.

    Last by execution, not by registration: of all parameters in the gradient graph of the
    outputs, the one whose latest use autograd numbered highest. Auxiliary heads that do not
    reach the outputs, and a head registered first, are told apart this way. For a weight tied
    across modules it is the module it is first registered in.

    Args:
        model: In evaluation mode; every trainable parameter requires gradients.
        inputs: A few examples.

    Returns:
        The module's name as in ``model.named_modules()``.

    Raises:
        GradientError: If no trainable parameter reaches the outputs.
    """
    with torch.enable_grad():
        uses = find_parameter_uses(_first_tensor(call_model(model, inputs)))
    latest = {
        name: max(uses[id(value)]) for name, value in model.named_parameters() if id(value) in uses
    }
    if not latest:
        raise GradientError(
            "No trainable parameter reaches the model's outputs; expected at least one. "
            "Set requires_grad=True on the parameters that were trained, and make sure the "
            "forward pass does not run under torch.no_grad()."
        )
    return max(latest, key=lambda name: latest[name]).rpartition(".")[0]


def _first_tensor(outputs: Any) -> Tensor:
    """Return the model's main output: the logits, or the first tensor there is."""
    logits = getattr(outputs, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    found = next(find_tensors(outputs), None)
    found = next(find_output_tensors(outputs), None) if found is None else found
    if found is None:
        raise GradientError(
            f"The model returned {type(outputs).__name__}, in which no tensor was found; expected "
            "a tensor, or a tuple, dict or object that holds some. Wrap the model so that it "
            "returns what the loss needs."
        )
    return found
