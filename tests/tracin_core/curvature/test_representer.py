"""Representer points sum to the outputs, and are those of ridge regression in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from tests.tracin_core.curvature import small
from tracin_core import AttributionSetup, get_method
from tracin_core.errors import ConfigurationError


def make(tracin, **options):
    return get_method("representer").make(AttributionSetup(tracin=tracin, options=options))


def features_of(model, examples):
    hidden = model[:2](examples.tensors[0]).detach()
    return torch.cat([hidden, torch.ones(len(hidden), 1, dtype=torch.float64)], 1)


@pytest.mark.parametrize("loss", small.LOSSES)
def test_parts_of_all_train_examples_sum_to_the_fitted_output(loss):
    train, test = small.make_examples(20, 1, loss), small.make_examples(5, 2, loss)
    tracin = small.make_tracin(loss=loss)
    method = make(tracin, decay=0.02, limit=2e-7)
    parts = method.influence(train, test)
    points = method._points
    outputs = features_of(tracin.model, test) @ points.weight.T
    torch.testing.assert_close(parts.sum(0), outputs.max(1).values, rtol=1e-5, atol=1e-6)
    assert method.report["gradient norm"] <= 2e-7
    assert parts.shape == (20, 5)


def test_of_squared_errors_they_are_the_closed_form():
    train, test = small.make_examples(20, 1, "mse"), small.make_examples(5, 2, "mse")
    tracin = small.make_tracin(loss="mse")
    left, right = features_of(tracin.model, train), features_of(tracin.model, test)
    targets, decay = train.tensors[1], 0.02
    # mean over outputs and examples of (W a - y)^2, plus decay |W|^2
    ridge = left.T @ left * (1 / 3) / 20 + decay * torch.eye(5, dtype=torch.float64)
    weight = torch.linalg.solve(ridge, left.T @ targets * (1 / 3) / 20).T
    alphas = -(2 / 3) * (left @ weight.T - targets) / (2 * decay * 20)
    classes = (right @ weight.T).argmax(1)
    expected = (left @ right.T) * alphas[:, classes]
    method = make(tracin, decay=decay, limit=2e-7)
    torch.testing.assert_close(method.influence(train, test), expected, rtol=1e-5, atol=1e-6)
    own = alphas.abs().sum(1) * left.square().sum(1)
    torch.testing.assert_close(method.scores(train)["representer_self"], own, rtol=1e-5, atol=1e-6)


def test_the_given_class_is_explained_where_it_is_asked_for():
    train, test = small.make_examples(20, 1), small.make_examples(5, 2)
    tracin = small.make_tracin()
    method = make(tracin, decay=0.02, explain="given")
    parts = method.influence(train, test)
    outputs = features_of(tracin.model, test) @ method._points.weight.T
    given = outputs.gather(1, test.tensors[1][:, None])[:, 0]
    torch.testing.assert_close(parts.sum(0), given, rtol=1e-4, atol=1e-5)


def test_a_part_of_the_train_set_has_the_scores_it_has_within_the_whole():
    train = small.make_examples(20, 1)
    method = make(small.make_tracin(), decay=0.02)
    method.fit(train)
    whole = method.scores(train)["representer_self"]
    half = TensorDataset(*(tensor[10:] for tensor in train.tensors))
    torch.testing.assert_close(method.scores(half)["representer_self"], whole[10:])
    assert float(whole.min()) >= 0


def test_a_wrong_label_has_the_largest_value():
    draw = torch.Generator().manual_seed(3)
    labels = torch.arange(30) % 3
    inputs = 3 * torch.eye(3)[labels] + 0.3 * torch.randn(30, 3, generator=draw)
    given = labels.clone()
    given[4] = 2
    model = nn.Linear(3, 3).double()
    train = TensorDataset(inputs.double(), given)
    scores = make(small.make_tracin(model)).scores(train)["representer_self"]
    assert int(scores.argmax()) == 4


def test_what_is_not_stationary_is_refused():
    method = make(small.make_tracin(), decay=1e-3, limit=1e-18)
    with pytest.raises(
        ConfigurationError, match=r"relative gradient norm .* Choose a larger decay"
    ):
        method.fit(small.make_examples(20, 1))


def test_a_last_layer_that_is_not_linear_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten()).double()
    tracin = small.make_tracin(model)
    with pytest.raises(ConfigurationError, match="no Linear one"):
        make(tracin).fit(small.make_examples(6, 1, shape=(1, 2, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 0}, "a number above 0"),
        ({"explain": "all"}, "one of predicted, given"),
        ({"lambda": 1}, "the option 'lambda'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        make(small.make_tracin(), **options)
