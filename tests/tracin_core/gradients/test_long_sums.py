"""Sums over millions of numbers keep the digits that single precision has."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.gradients.factored import (
    BagGradients,
    Contribution,
    Outer,
    SparseRows,
    compute_squared_norms,
)
from tracin_core.gradients.precision import multiply_long
from tracin_core.gradients.products import dot_products

# Relative to the product of the norms: what is promised of influence in single precision.
PROMISED = 1e-6


@pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 5000, 800_001])
@pytest.mark.parametrize("make", [torch.rand, torch.randn, torch.ones], ids=lambda f: f.__name__)
def test_long_rows_are_added_up_exactly(length: int, make: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    # Of equal numbers every addition rounds the same way.
    left, right = 0.1 * make(2, length), 0.1 * make(3, length)
    norms = [rows.double().square().sum(1) for rows in (left, right)]
    scale = (norms[0].unsqueeze(1) * norms[1]).sqrt()
    products = multiply_long(left, right)
    assert products.dtype == torch.float32
    errors = (products - left.double() @ right.double().T).abs() / scale
    assert float(errors.max()) < PROMISED
    assert float(((compute_squared_norms(left) - norms[0]) / norms[0]).abs().max()) < PROMISED


def make_outer(size: int, positions: int) -> Outer:
    deltas, inputs = torch.randn(size, positions, 6), torch.randn(size, positions, 9)
    return Outer(deltas.double(), inputs.double(), torch.Size((6, 9)))


def make_rows(size: int, positions: int) -> SparseRows:
    indices = torch.randint(0, 40, (size, positions))
    return SparseRows(indices, torch.randn(size, positions, 5).double(), torch.Size((40, 5)))


def make_bags(size: int, positions: int) -> BagGradients:
    indices = torch.randint(0, 40, (size, positions))
    weights, deltas = torch.rand(size, positions).double(), torch.randn(size, 5).double()
    return BagGradients(indices, weights, deltas, torch.Size((40, 5)))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *((make_outer(5, t), make_outer(4, u)) for t in (1, 2, 7) for u in (1, 3)),
        *((make_rows(5, t), make_rows(4, u)) for t in (1, 3, 30) for u in (2, 30)),
        (make_rows(5, 3), make_bags(4, 2)),
        (make_bags(5, 3), make_bags(4, 3)),
        (make_bags(5, 30), make_rows(4, 30)),
    ],
    ids=str.split("o11 o13 o21 o23 o71 o73 r12 r1x r32 r3x rx2 rxx rb bb bxx"),
)
def test_factors_give_the_products_of_the_gradients(
    first: Contribution, second: Contribution
) -> None:
    whole = [item.instantiate().flatten(1) for item in (first, second)]
    expected = whole[0] @ whole[1].T
    torch.testing.assert_close(dot_products([first], [second]), expected, **oracles.EXACT)


def test_long_factors_are_cut_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from tracin_core.gradients import factored

    small = factored.Chunks(patches=50, gradients=50, transforms=50, sums=50)
    monkeypatch.setattr(factored, "PROCESSOR", small)
    first, second = make_outer(7, 2), make_outer(6, 2)
    whole = [item.instantiate().flatten(1) for item in (first, second)]
    found = dot_products([first], [second])
    torch.testing.assert_close(found, whole[0] @ whole[1].T, **oracles.EXACT)


class Sequence(nn.Module):
    """A wide layer over several positions, a table, and a large parameter that no layer holds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wide, self.head = nn.Linear(256, 1024), nn.Linear(1024, 3)
        self.scale = nn.Parameter(torch.ones(12, 1024))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head((self.wide(inputs).relu() * self.scale).mean(1))


def test_influence_of_wide_layers_is_exact_and_its_diagonal_self_influence() -> None:
    model = Sequence()
    inputs, labels = torch.rand(6, 12, 256) + 0.1, torch.arange(6) % 3
    examples = TensorDataset(inputs, labels)
    double = copy.deepcopy(model).double()
    gradients = oracles.per_example_gradients(
        double,
        TensorDataset(inputs.double(), labels),
        lambda outputs, targets: nn.functional.cross_entropy(outputs, targets, reduction="none"),
    )
    expected = gradients @ gradients.T
    norms = expected.diagonal().sqrt()
    tracin = TracIn(model, [Checkpoint(model.state_dict(), learning_rate=1.0)], device="cpu")
    scores = tracin.influence(examples, examples).double()
    own = tracin.self_influence(examples).double()
    assert float(((scores - expected).abs() / norms.outer(norms)).max()) < PROMISED
    assert float((own / expected.diagonal() - 1).abs().max()) < PROMISED
    assert float((scores.diagonal() / own - 1).abs().max()) < PROMISED


def test_hundreds_of_checkpoints_add_up_exactly() -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    examples = TensorDataset(torch.randn(4, 5), torch.arange(4) % 3)
    checkpoint = Checkpoint(model.state_dict(), learning_rate=0.1)
    once = TracIn(model, [checkpoint], device="cpu")
    often = TracIn(model, [checkpoint] * 300, device="cpu")
    found = [
        (often.self_influence(examples), once.self_influence(examples)),
        (often.capture(examples).self_influence(), once.self_influence(examples)),
        (often.influence(examples, examples), once.influence(examples, examples)),
    ]
    for many, one in found:
        torch.testing.assert_close(many.double(), 300 * one.double(), rtol=2e-7, atol=1e-9)
