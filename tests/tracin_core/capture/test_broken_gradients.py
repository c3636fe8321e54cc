"""A gradient that is not finite is reported with its example and checkpoint, never summed away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.errors import CheckpointError, GradientError

INPUTS = torch.arange(1.0, 19.0).reshape(6, 3) / 10
LABELS = torch.tensor([0, 1, 0, 1, 0, 1])
EXAMPLES = TensorDataset(INPUTS, LABELS)

Run = Callable[[TracIn, Any], Any]
RUNS: dict[str, Run] = {
    "self-influence": lambda tracin, examples: tracin.self_influence(examples),
    "influence on others": lambda tracin, examples: tracin.influence(examples, EXAMPLES),
    "influence of others": lambda tracin, examples: tracin.influence(EXAMPLES, examples),
    "exact vectors": lambda tracin, examples: tracin.vectors(examples),
    "projected vectors": lambda tracin, examples: tracin.vectors(examples, Projection(dim=16)),
    "capture": lambda tracin, examples: tracin.capture(
        examples, projection=Projection(dim=16), last_layer_vectors=True
    ),
}


class RootNetwork(nn.Module):
    """The square root of an input of zero is zero, and its slope infinite."""

    def __init__(self, scale: nn.Module) -> None:
        super().__init__()
        self.scale, self.head = scale, nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.scale(inputs).sqrt())


class Gain(nn.Module):
    """A bare parameter, which takes the fallback."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.gain


def build_scale() -> nn.Module:
    scale = nn.Linear(3, 3)
    with torch.no_grad():
        scale.weight.copy_(torch.eye(3))
        scale.bias.zero_()
    return scale


def make_tracin(model: nn.Module, count: int = 1, **options: Any) -> TracIn:
    states = [{k: v.clone() for k, v in model.state_dict().items()} for _ in range(count)]
    checkpoints = [Checkpoint(s, 0.1, step=10 * i) for i, s in enumerate(states)]
    return TracIn(model, checkpoints, device="cpu", batch_size=4, **options)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("scale", [build_scale, Gain], ids=["rule", "fallback"])
def test_an_infinite_gradient_behind_a_finite_loss_is_named(
    scale: Callable[[], nn.Module], run: Run
) -> None:
    torch.manual_seed(0)
    model = RootNetwork(scale())
    inputs = INPUTS.clone()
    inputs[5, 1] = 0.0
    losses = nn.functional.cross_entropy(model(inputs), LABELS, reduction="none")
    assert torch.isfinite(losses).all()
    with pytest.raises(GradientError, match=r"example 5 at checkpoint 0 \(step 0\)"):
        run(make_tracin(model), TensorDataset(inputs, LABELS))


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_first_checkpoint_that_breaks_is_named(run: Run) -> None:
    torch.manual_seed(0)
    tracin = make_tracin(nn.Linear(3, 2), count=3)
    tracin.checkpoints[1].weights["weight"].fill_(3e38)
    with pytest.raises(GradientError, match=r"checkpoint 1 \(step 10\) is not finite"):
        run(tracin, EXAMPLES)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_rate_of_zero_does_not_hide_a_broken_checkpoint(run: Run) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    broken = {name: torch.full_like(value, 3e38) for name, value in model.state_dict().items()}
    checkpoints = [Checkpoint(model.state_dict(), 0.1), Checkpoint(broken, 0.0)]
    with pytest.warns(RuntimeWarning, match=r"learning rate 0 at 1 of 2 checkpoints"):
        tracin = TracIn(model, checkpoints, device="cpu")
    with pytest.raises(GradientError, match="example 0 at checkpoint 1"):
        run(tracin, EXAMPLES)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_weights_that_are_no_numbers_are_named(run: Run, broken: float) -> None:
    tracin = make_tracin(nn.Linear(3, 2), count=3)
    tracin.checkpoints[1].weights["bias"][1] = broken
    named = r"Checkpoint 1 \(step 10\) holds (NaN|infinity) in bias: 1 of 2"
    with pytest.raises(CheckpointError, match=named):
        run(tracin, EXAMPLES)


def test_a_mask_may_be_infinite() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    assert make_tracin(model).self_influence(EXAMPLES).isfinite().all()


def test_a_norm_beyond_single_precision_is_reported_as_too_large() -> None:
    model = nn.Linear(3, 2)
    inputs = INPUTS.clone()
    inputs[3] *= 1e30  # its gradient has a finite norm, but not a finite square
    with pytest.raises(GradientError, match=r"example 3 .* too large"):
        make_tracin(model).self_influence(TensorDataset(inputs, LABELS))


def test_a_broken_layer_that_is_not_chosen_breaks_nothing() -> None:
    torch.manual_seed(0)
    model = RootNetwork(build_scale())
    inputs = INPUTS.clone()
    inputs[5, 1] = 0.0
    examples = TensorDataset(inputs, LABELS)
    norms = make_tracin(model, layers="last").self_influence(examples)
    assert torch.isfinite(norms).all()
