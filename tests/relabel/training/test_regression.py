from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from relabel.features.encoding import fit_encoder
from relabel.features.table import cut_far_away
from relabel.importers.plan import plant_values
from relabel.models.build import build_model
from relabel.models.builtin import suggest_model
from relabel.training.config import suggest_training
from relabel.training.loop import train
from relabel.training.objective import bounded_squared_error, squared_error

ROWS, TEST_ROWS = 1300, 300
COLUMNS = [
    {"name": "income", "kind": "number"},
    {"name": "distance", "kind": "number"},
    {"name": "age", "kind": "number"},
    {"name": "town", "kind": "category"},
]


def make_table():
    """Return rows with two heavy-tailed columns, and what is to be predicted of them."""
    draw = np.random.default_rng(0)
    income, distance = draw.lognormal(3, 1.5, ROWS), 1000 * draw.pareto(1.2, ROWS)
    age, town = draw.uniform(0, 80, ROWS), draw.choice(["port", "hill", "plain"], ROWS)
    worth = {"port": 3.0, "hill": 1.0, "plain": 0.0}
    values = np.log(income) + np.log1p(distance / 1000) + age / 20
    values += np.array([worth[one] for one in town]) + draw.normal(0, 0.3, ROWS)
    rows = [
        dict(zip(("income", "distance", "age", "town"), row, strict=True))
        for row in zip(income.tolist(), distance.tolist(), age.tolist(), town.tolist(), strict=True)
    ]
    return rows, 10_000 + 1000 * values


def train_default(rows, values, folder, **changes):
    """Train the network and options that are suggested; return the epochs' R2 on test rows."""
    encoder = fit_encoder("table", rows[TEST_ROWS:], columns=COLUMNS)
    inputs = torch.stack([encoder.encode(row) for row in rows])
    cut = cut_far_away(values[TEST_ROWS:])
    targets = torch.from_numpy((values - cut.mean()) / cut.std()).float()
    parts = (slice(TEST_ROWS, None), slice(TEST_ROWS))
    train_set, test_set = (TensorDataset(inputs[part], targets[part]) for part in parts)
    config = suggest_training("table", num_examples=len(train_set), loss="mse")
    records = train(
        build_model(suggest_model(encoder, 1)), train_set, test_set, config, folder, **changes
    )
    return [record.test_r2 for record in records]


def test_heavy_tails_and_wrong_targets_do_not_wreck_a_training(tmp_path):
    rows, values = make_table()
    right = train_default(rows, values, tmp_path / "right")
    assert right[-1] > 0.93
    given = values.copy()
    given[TEST_ROWS:], _ = plant_values(values[TEST_ROWS:], share=0.05, seed=1)
    wrong = train_default(rows, given, tmp_path / "wrong")
    assert wrong[-1] > right[-1] - 0.1
    later = wrong[len(wrong) // 2 :]
    assert max(np.subtract(later[:-1], later[1:])) < 0.05


@pytest.mark.parametrize("bound", [0.5, 2.0])
def test_a_residual_within_the_bound_has_the_gradient_of_its_square(bound):
    residuals = torch.linspace(-5, 5, 41, dtype=torch.float64)
    outputs = residuals.clone().unsqueeze(1).requires_grad_()
    targets = torch.zeros(41, dtype=torch.float64)
    losses = bounded_squared_error(outputs, targets, bound=bound)
    (gradients,) = torch.autograd.grad(losses.sum(), outputs)
    torch.testing.assert_close(gradients[:, 0], 2 * residuals.clamp(-bound, bound))
    inside = residuals.abs() <= bound
    torch.testing.assert_close(losses[inside], squared_error(outputs, targets)[inside])
