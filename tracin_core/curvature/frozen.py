"""A copy of a model at one checkpoint, and losses that can be differentiated twice.

A copy, because the model itself may be in use by another thread; in evaluation mode, and in
float64 where the model runs in it, because small curvatures drown in single precision.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tracin_core.capture.batching import Batch, read_batches
from tracin_core.checkpoints import read_weights
from tracin_core.errors import ConfigurationError
from tracin_core.gradients.nested import call_model, find_tensors, map_tensors
from tracin_core.losses import Loss, LossFunction, choose_loss, get_logits
from tracin_core.tracin import TracIn

# Train examples are read many times, so they stay in memory; beyond this they are refused.
MAX_EXAMPLE_BYTES = 4 * 1024**3


def smooth_cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Return each example's cross-entropy in nats, shape ``(B,)``, differentiable twice.

    The engine's own cross-entropy keeps its gradient as a constant, which has no derivative.

    Args:
        outputs: Logits ``(B, K)``.
        targets: Class indices ``(B,)``, or probabilities ``(B, K)``.
    """
    logits = get_logits(outputs)
    if targets.shape == logits.shape:
        return -(targets.to(logits.dtype) * F.log_softmax(logits, dim=1)).sum(1)
    return F.cross_entropy(logits, targets.reshape(len(logits)).long(), reduction="none")


def choose_smooth_loss(loss: Loss) -> LossFunction:
    """Return the loss function of a name or a callable, differentiable twice."""
    return smooth_cross_entropy if loss == "cross_entropy" else choose_loss(loss)


class FrozenModel:
    """A model at the last checkpoint of a ``TracIn``, for second derivatives.

    Args:
        tracin: The engine; its last checkpoint is taken.
        names: Parameters that are differentiated.
        batch: A few examples, on which it is seen whether the model runs in float64.

    Attributes:
        model: The copy, in evaluation mode.
        names: The parameters.
        loss: Per-example loss, differentiable twice.
        dtype: Number type of weights and products.
    """

    def __init__(self, tracin: TracIn, names: Sequence[str], batch: Batch) -> None:
        self.names, self.device = tuple(names), tracin.device
        self.loss = choose_smooth_loss(tracin.loss)
        self.model = _copy(tracin, names)
        self.dtype = _find_dtype(self.model)
        if self.device.type != "mps" and self.dtype != torch.float64:
            double = _copy(tracin, names).double()
            try:
                with torch.no_grad():
                    call_model(double, _convert(batch.to(self.device).inputs, torch.float64))
            except RuntimeError:
                # Constants of its own in single precision: the model's own number type decides.
                return
            self.model, self.dtype = double, torch.float64

    @property
    def parameters(self) -> list[Tensor]:
        """The parameters that are differentiated, in the order of their names."""
        own = dict(self.model.named_parameters())
        return [own[name] for name in self.names]

    @property
    def shapes(self) -> list[torch.Size]:
        """Their shapes."""
        return [value.shape for value in self.parameters]

    def prepare(self, batch: Batch) -> Batch:
        """Return a batch on the device in the model's number type."""
        return batch.to(self.device).map(
            lambda tensor: tensor.to(self.dtype) if tensor.is_floating_point() else tensor
        )

    def run(self, batch: Batch) -> Any:
        """Return the model's outputs of a prepared batch, with their graph."""
        return call_model(self.model, batch.inputs)


def twice_differentiable() -> AbstractContextManager[None]:
    """Choose the attention kernel that has second derivatives; fused ones have none."""
    return sdpa_kernel(SDPBackend.MATH)


def hold_batches(examples: Any, batch_size: int) -> list[Batch]:
    """Return all examples as batches in memory.

    Raises:
        ConfigurationError: If there are none, or they take more than 4 GiB.
    """
    batches, total = [], 0
    for batch in read_batches(examples, batch_size):
        total += sum(value.nbytes for value in find_tensors((batch.inputs, batch.targets)))
        if total > MAX_EXAMPLE_BYTES:
            raise ConfigurationError(
                f"The first {batch.start + batch.size:,} train examples take more than "
                f"{MAX_EXAMPLE_BYTES / 1024**3:.0f} GiB; expected a train set that fits in "
                "memory, because curvature reads it many times. Choose layers='last', which keeps "
                "the last layer's features alone, solver='ekfac', which reads it twice, or a part "
                "of the train set."
            )
        batches.append(batch)
    if not batches:
        raise ConfigurationError(
            "Found no train example; expected at least one to take the curvature from. Pass the "
            "train set."
        )
    return batches


def _copy(tracin: TracIn, names: Sequence[str]) -> nn.Module:
    model = copy.deepcopy(tracin.model)
    model.load_state_dict(read_weights(tracin.checkpoints[-1], tracin.model), strict=False)
    wanted = set(names)
    for name, value in model.named_parameters():
        value.requires_grad_(name in wanted)
    return model.eval().to(tracin.device)


def _find_dtype(model: nn.Module) -> torch.dtype:
    return next((v.dtype for v in model.parameters() if v.is_floating_point()), torch.float32)


def _convert(inputs: Any, dtype: torch.dtype) -> Any:
    return map_tensors(lambda t: t.to(dtype) if t.is_floating_point() else t, inputs)
