"""Compare a whole network with one example at a time, and see that nothing is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.gradients.plan import Coverage


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    logits = outputs if isinstance(outputs, Tensor) else outputs["logits"]
    return F.cross_entropy(logits, targets, reduction="none")


def label(inputs: Sequence[Any], num_classes: int = 3) -> list[tuple[Any, Tensor]]:
    """Give each input a class in turn."""
    return [(value, torch.tensor(i % num_classes)) for i, value in enumerate(inputs)]


def shake(model: nn.Module, scale: float = 0.1) -> nn.Module:
    """Move weights and running statistics off their even starting values, in float64."""
    model = model.double()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(scale * torch.randn_like(value))
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(0.3 * torch.randn_like(value))
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand_like(value))
    return model


def assert_covered(
    model: nn.Module, examples: list[tuple[Any, Tensor]], batch_size: int = 2
) -> Coverage:
    """Norms, influence and exact vectors agree with the oracle; every parameter is in them."""
    modes = [module.training for module in model.modules()]
    checkpoint = Checkpoint(model.state_dict(), learning_rate=0.5)
    tracin = TracIn(model, [checkpoint], device="cpu", batch_size=batch_size)
    gradients = oracles.per_example_gradients(model, examples, cross_entropy)
    products = 0.5 * gradients @ gradients.T
    torch.testing.assert_close(tracin.self_influence(examples), products.diag(), **oracles.EXACT)
    torch.testing.assert_close(
        tracin.influence(examples, examples[:2]), products[:, :2], **oracles.EXACT
    )
    torch.testing.assert_close(tracin.vectors(examples), 0.5**0.5 * gradients, **oracles.EXACT)
    coverage = tracin.coverage
    trainable = [name for name, value in model.named_parameters() if value.requires_grad]
    assert coverage.confirmed
    assert list(coverage.covered) == trainable, str(coverage)
    assert [module.training for module in model.modules()] == modes
    return coverage
