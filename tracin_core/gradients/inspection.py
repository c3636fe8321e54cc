"""Checks on a few examples that no example of a batch meets another, before gradients are trusted.

``refuse_mixed_examples`` and its kin compare outputs ``(B, ...)`` of examples alone, in other
company and in halves; ``ReferenceGradients`` holds what autograd gives for one trial example, to
which rules are compared. Outputs of any type are cut into the rows of single examples.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tracin_core.errors import GradientError
from tracin_core.gradients.nested import call_model, find_tensors, map_tensors

# Examples of a trial: each is differentiated alone, and has neighbours that it must not reach.
TRIAL_SIZE = 3

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
    """Return whether torch may be wrong about a batch of one.

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
    together = first_tensor(call_model(model, inputs))
    swapped = map_tensors(lambda tensor: tensor[[2, 0]], inputs)
    apart = first_tensor(call_model(model, swapped))
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
    together = first_tensor(outputs).detach()
    size = len(together)
    if size < 2:
        return
    half = size // 2
    parts = [
        first_tensor(call_model(model, map_tensors(itemgetter(part), inputs)))
        for part in (slice(half, None), slice(None, half))
    ]
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


# Largest disagreement of a rule with autograd, relative to the gradient's largest entry.
# Rounding stays below 1e-4 in float32 (1e-2 with half precision or TF32), also where a float64
# model computes a norm in float32 inside; the mistakes this is to catch are of order one.
TOLERANCES = {torch.float64: 1e-4, torch.float32: 2e-3}
LOOSE_TOLERANCE = 5e-2

# The same relative to the largest entry over all parameters: what rounding may leave of a
# gradient that is zero, as that of the bias of attention's keys is (it moves all scores of a
# softmax alike). Summands as large as the largest gradient cancel to their last digits, 1e-16
# or 1e-7 of them. In float32 this would also pass a wrong gradient of a parameter whose own are
# that small, so plans are tried in float64 wherever the model runs in it.
ROUNDING = {torch.float64: 1e-12, torch.float32: 2e-5}
LOOSE_ROUNDING = 5e-4


class ReferenceGradients:
    """What autograd says of one trial example.

    Args:
        truths: Its gradient for each parameter, by name.
        largest: The largest number in its gradients, if there are more than these.
    """

    def __init__(self, truths: Mapping[str, Tensor], largest: float = 0.0) -> None:
        self._truths = truths
        sizes = [float(truth.abs().max()) for truth in truths.values() if truth.numel()]
        self._largest = max((*sizes, largest))

    @property
    def largest(self) -> float:
        """The largest number in the gradients; what rounding errors are measured by."""
        return self._largest

    def agrees_with(self, name: str, found: Tensor) -> bool:
        """Return whether ``found``, of the parameter's shape, is the example's gradient."""
        expected = self._truths[name]
        if found.shape != expected.shape:
            return False
        if not found.numel():
            return True
        kind = expected.dtype
        own = TOLERANCES.get(kind, LOOSE_TOLERANCE) * float(expected.abs().max())
        rounding = ROUNDING.get(kind, LOOSE_ROUNDING) * self._largest
        return bool(((found - expected).abs() <= max(own, rounding)).all())

    def is_zero(self, name: str) -> bool:
        """Return whether nothing reaches the parameter from the example."""
        return not bool(self._truths[name].any())


def find_output_tensors(outputs: Any) -> Iterator[Tensor]:
    """Yield every tensor in what a model returned, also in the attributes of an object."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_outputs(note, outputs)
    yield from found


def map_outputs(function: Callable[[Tensor], Tensor], outputs: Any) -> Any:
    """Return the outputs with every tensor changed; types, names and all else are kept.

    Args:
        function: What is done with each tensor.
        outputs: A tensor, or a structure or object that holds some.
    """
    if isinstance(outputs, Tensor):
        return function(outputs)
    if isinstance(outputs, list):
        return [map_outputs(function, item) for item in outputs]
    if isinstance(outputs, tuple):
        items = [map_outputs(function, item) for item in outputs]
        return type(outputs)(*items) if hasattr(outputs, "_fields") else tuple(items)
    if isinstance(outputs, Mapping):
        return _map_mapping(function, outputs)
    if hasattr(outputs, "__dict__") and not isinstance(outputs, nn.Module | type):
        changed = copy.copy(outputs)
        for name, value in vars(outputs).items():
            # Also where the object is frozen: this copy is nobody else's.
            object.__setattr__(changed, name, map_outputs(function, value))
        return changed
    return outputs


def take_rows(outputs: Any, indices: Sequence[int], size: int) -> Any:
    """Return the outputs of chosen examples.

    Args:
        outputs: Of ``size`` examples.
        indices: Which; an example may come twice.
        size: Number of examples B.

    Returns:
        ``None`` if a tensor has axes, but not the examples along the first.
    """
    if any(t.dim() and len(t) != size for t in find_output_tensors(outputs)):
        return None
    return map_outputs(lambda t: t[list(indices)] if t.dim() else t, outputs)


def _map_mapping(function: Callable[[Tensor], Tensor], outputs: Mapping[Any, Any]) -> Any:
    items = {key: map_outputs(function, value) for key, value in outputs.items()}
    if type(outputs) is dict:
        return items
    # A ``ModelOutput`` is read by key and by attribute; setting a key sets both.
    changed: Any = copy.copy(outputs)
    for key, value in items.items():
        changed[key] = value
    return changed


def first_tensor(outputs: Any) -> Tensor:
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
