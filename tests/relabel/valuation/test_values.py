from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from relabel.db.positions import NO_PREDICTION
from relabel.valuation import values as module
from relabel.valuation.groups import (
    group_all,
    group_by_class,
    group_by_correctness,
    group_chosen,
    parse_positions,
)
from relabel.valuation.values import compute_values
from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import InputError

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def small():
    """A network of two layers at two checkpoints, 7 train and 6 test examples, in float64."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    later = {
        name: value + 0.3 * torch.randn_like(value) for name, value in model.named_parameters()
    }
    checkpoints = [Checkpoint(dict(model.state_dict()), 0.1), Checkpoint(later, 0.05)]
    draw = [(torch.randn(4, dtype=torch.float64), torch.tensor(n % 3)) for n in range(13)]
    return model, checkpoints, draw[:7], draw[7:]


def test_values_are_the_influences_added_up_one_example_at_a_time(small, monkeypatch):
    model, checkpoints, train, test = small
    labels = np.array([int(label) for _, label in test])
    predicted = np.array([1, 0, 0, 2, NO_PREDICTION, 0])
    groups = [
        *group_all(len(test)),
        *group_by_class(labels, CLASSES),
        *group_by_correctness(labels, predicted),
        *group_chosen([4, 1, 4], len(test)),
    ]
    pairs = oracles.influence(model, checkpoints, train, test, cross_entropy).numpy()
    one_by_one = np.array(
        [[sum(row[m] for m in group.positions) for group in groups] for row in pairs]
    )
    tracin = TracIn(model, checkpoints, "cross_entropy", rates="recorded")
    monkeypatch.setattr(module, "_BLOCK_NUMBERS", 60)  # two rows at a time
    found = compute_values(tracin.vectors(train).numpy(), tracin.vectors(test).numpy(), groups)
    np.testing.assert_allclose(found.totals, one_by_one, **oracles.EXACT)
    sizes = [len(group.positions) for group in groups]
    assert sizes == [6, *np.bincount(labels, minlength=3), 3, 2, 2]
    np.testing.assert_allclose(found.means, one_by_one / sizes, **oracles.EXACT)
    own = tracin.self_influence(train).numpy()
    np.testing.assert_allclose(found.self_influence, own, **oracles.EXACT)


def test_classes_and_verdicts_without_examples_have_no_group():
    labels = np.array([2, 0, 2])
    assert [group.name for group in group_by_class(labels, CLASSES)] == ["class-0", "class-2"]
    assert [group.name for group in group_by_correctness(labels, labels)] == ["right"]
    assert group_all(0) == []


def test_groups_that_cannot_be_are_refused_with_the_way_out(monkeypatch):
    vectors = np.ones((5, 2), dtype=np.float32)
    with pytest.raises(InputError, match="import some"):
        compute_values(vectors, vectors, [])
    with pytest.raises(InputError, match="test example 5"):
        group_chosen([0, 5], 5)
    with pytest.raises(InputError, match="no test example"):
        group_chosen([], 5)
    monkeypatch.setattr(module, "MOST_NUMBERS", 4)
    with pytest.raises(InputError, match="Choose one class"):
        compute_values(vectors, vectors, group_all(5))


def test_typed_numbers_become_positions_and_others_are_refused():
    assert parse_positions("3, 17 5-6,3", 20) == (2, 16, 4, 5)
    assert parse_positions("1 - 2", 20) == (0, 1)
    assert parse_positions("  ", 20) == ()
    for typed in ("0", "21", "6-5", "20-21", "three", "-4", "1-2-3"):
        with pytest.raises(InputError, match="from 1 to 20"):
            parse_positions(typed, 20)
