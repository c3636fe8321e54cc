"""Influence functions predict retraining of convex models; LDS ranks it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

from tests.oracles import EXACT
from tests.tracin_core.curvature import small
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import ConfigurationError
from tracin_core.truth import (
    draw_halves,
    fit_logistic,
    fit_ridge,
    leave_one_out,
    rank_correlation,
    retrain_parts,
    score_datamodel,
)

DECAY = 0.05


def add_one(examples):
    inputs = examples.tensors[0]
    return torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], 1)


def logistic(train, test):
    left, right = add_one(train), add_one(test)

    def retrain(places):
        decay = DECAY * len(left) / len(places)
        weight = fit_logistic(left[places], train.tensors[1][places], 3, decay)
        return F.cross_entropy(right @ weight.T, test.tensors[1], reduction="none")

    return retrain, fit_logistic(left, train.tensors[1], 3, DECAY)


def ridge(train, test):
    left, right = add_one(train), add_one(test)

    def retrain(places):
        decay = DECAY * len(left) / len(places)
        weight = fit_ridge(left[places], train.tensors[1][places], decay)
        return (right @ weight.T - test.tensors[1]).square().mean(1)

    return retrain, fit_ridge(left, train.tensors[1], DECAY)


MODELS = {"cross_entropy": logistic, "mse": ridge}


def attribute(weight, train, loss, **options):
    """Influence functions of the fitted layer; its decay's second derivative is the damping."""
    model = nn.Linear(4, 3, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(weight)
    tracin = TracIn(model, Checkpoint(model.state_dict(), 1.0), loss, device="cpu", batch_size=16)
    return small.attribute(tracin, damping=2 * DECAY, **options)


def as_data(examples):
    return TensorDataset(add_one(examples), examples.tensors[1])


@pytest.mark.parametrize("loss", MODELS)
def test_influence_functions_predict_what_leaving_an_example_out_does(loss):
    train, test = small.make_examples(60, 1, loss), small.make_examples(5, 2, loss)
    retrain, weight = MODELS[loss](train, test)
    chosen = list(range(0, 60, 4))
    truth = leave_one_out(retrain, 60, chosen)
    method = attribute(weight, train, loss)
    estimate = method.influence(as_data(train), as_data(test))[chosen]
    # What a first-order estimate leaves out is of the order of 1 / N.
    pair = torch.stack([estimate.flatten(), truth.flatten()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.99
    assert float((estimate - truth).norm() / truth.norm()) < 0.15


def test_of_ridge_regression_the_error_falls_as_an_example_counts_for_less():
    errors = []
    test = small.make_examples(5, 2, "mse")
    for copies in (1, 8):
        train = small.make_examples(20, 1, "mse")
        train = TensorDataset(*(tensor.repeat(copies, 1) for tensor in train.tensors))
        retrain, weight = ridge(train, test)
        truth = leave_one_out(retrain, 20 * copies, range(8))
        estimate = attribute(weight, train, "mse").influence(as_data(train), as_data(test))[:8]
        errors.append(float((estimate - truth).norm() / truth.norm()))
    assert errors[1] < errors[0] / 4


def test_sums_of_influences_rank_models_trained_on_halves():
    train, test = small.make_examples(40, 1), small.make_examples(5, 2)
    retrain, weight = logistic(train, test)
    masks = draw_halves(40, 24, seed=3)
    losses = retrain_parts(retrain, masks)
    influence = attribute(weight, train, "cross_entropy").influence(as_data(train), as_data(test))
    score = score_datamodel(influence, masks, losses)
    assert score.mean > 0.8
    assert score.low <= score.mean <= score.high
    turned = score_datamodel(-influence, masks, losses)
    assert turned.mean == pytest.approx(-score.mean)
    random = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    assert abs(score_datamodel(random, masks, losses).mean) < 0.4


def test_the_fitted_models_are_stationary():
    train = small.make_examples(30, 1)
    inputs = add_one(train)
    weight = fit_logistic(inputs, train.tensors[1], 3, DECAY).requires_grad_()
    loss = F.cross_entropy(inputs @ weight.T, train.tensors[1]) + DECAY * weight.square().sum()
    (slope,) = torch.autograd.grad(loss, weight)
    assert float(slope.norm()) < 1e-8
    targets = torch.randn(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight = fit_ridge(inputs, targets, DECAY).requires_grad_()
    loss = (inputs @ weight.T - targets).square().mean() + DECAY * weight.square().sum()
    (slope,) = torch.autograd.grad(loss, weight)
    assert float(slope.norm()) < 1e-12


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=9),
)
def test_rank_correlation_is_pearsons_of_mean_ranks(values):
    left, right = torch.tensor(values, dtype=torch.float64).T

    def rank(row):
        order = sorted(float(v) for v in row)
        return torch.tensor(
            [
                sum(i for i, v in enumerate(order) if v == float(x)) / order.count(float(x))
                for x in row
            ],
            dtype=torch.float64,
        )

    expected = torch.corrcoef(torch.stack([rank(left), rank(right)]))[0, 1]
    actual = rank_correlation(left[:, None], right[:, None])[0]
    torch.testing.assert_close(actual, expected, equal_nan=True, **EXACT)


def test_halves_have_the_size_that_was_asked_for():
    masks = draw_halves(10, 6, share=0.3, seed=1)
    assert masks.sum(1).tolist() == [3] * 6
    assert len({tuple(row.tolist()) for row in masks}) > 1
    assert torch.equal(masks, draw_halves(10, 6, share=0.3, seed=1))


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ConfigurationError, match="some in and some"):
        draw_halves(1, 3)
    with pytest.raises(ConfigurationError, match=r"expected \(N, M\)"):
        score_datamodel(torch.zeros(3, 2), torch.zeros(4, 2), torch.zeros(4, 2))
    with pytest.raises(ConfigurationError, match="three or more"):
        score_datamodel(torch.zeros(3, 2), torch.zeros(2, 3), torch.zeros(2, 2))
    with pytest.raises(ConfigurationError, match="Choose among"):
        leave_one_out(lambda places: torch.zeros(1), 3, [3])
