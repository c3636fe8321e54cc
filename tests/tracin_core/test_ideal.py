"""Recorded steps sum to the total drop, and gradients promise them to first order."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.tracin_core.curvature import small
from tracin_core.errors import ConfigurationError
from tracin_core.ideal import IdealRecorder, train_and_record

TRAIN, TEST = small.make_examples(9, 1), small.make_examples(3, 2)


def losses_of(model, examples):
    inputs, targets = examples.tensors
    return F.cross_entropy(model(inputs), targets, reduction="none").detach()


def test_shares_sum_to_the_total_drop():
    model = small.make_model()
    before = losses_of(model, TEST)
    recorder = train_and_record(model, TRAIN, TEST, rate=0.2, batch_size=4, epochs=2)
    drop = before - losses_of(model, TEST)
    torch.testing.assert_close(recorder.influence.sum(0), drop, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(recorder.total_drop, drop, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(recorder.changes.sum(0), drop, rtol=1e-10, atol=1e-12)
    assert float(recorder.unrecorded.abs().max()) < 1e-12
    assert recorder.changes.shape == (6, 3)


def test_a_step_of_one_example_is_its_own_whole_change():
    model = small.make_model()
    replica = copy.deepcopy(model)
    recorder = train_and_record(model, TRAIN, TEST, rate=0.1, batch_size=1, epochs=1, seed=4)
    expected = torch.zeros(9, 3, dtype=torch.float64)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(4))
    for place in order.tolist():
        before = losses_of(replica, TEST)
        inputs, targets = (tensor[place : place + 1] for tensor in TRAIN.tensors)
        gradients = torch.autograd.grad(
            F.cross_entropy(replica(inputs), targets), list(replica.parameters())
        )
        with torch.no_grad():
            for value, slope in zip(replica.parameters(), gradients, strict=True):
                value -= 0.1 * slope
        expected[place] += before - losses_of(replica, TEST)
    torch.testing.assert_close(recorder.influence, expected, rtol=1e-9, atol=1e-11)


def test_small_steps_are_what_gradients_promise():
    errors = []
    for rate in (0.2, 0.02):
        recorder = train_and_record(small.make_model(), TRAIN, TEST, rate=rate, epochs=1)
        recorder_check = train_and_record(
            small.make_model(), TRAIN, TEST, rate=rate, batch_size=3, epochs=1
        ).check_first_order()
        errors.append(recorder_check.relative_error)
        assert recorder.influence.shape == (9, 3)
    assert recorder_check.correlation > 0.999
    assert recorder_check.by_example.shape == (3,)
    # What is left out is of second order in the rate.
    assert errors[1] < errors[0] / 5


def test_another_optimizer_and_a_changing_network_still_sum_up():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)
    ).double()
    before = losses_of(copy.deepcopy(model).eval(), TEST)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    recorder = IdealRecorder(model, TEST, 9)
    for _ in range(4):
        places = torch.tensor([0, 3, 3, 8])  # one of them twice
        inputs, targets = (tensor[places] for tensor in TRAIN.tensors)
        with recorder.step(inputs, targets, places, 0.05):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        assert model.training
    drop = before - losses_of(model.eval(), TEST)
    torch.testing.assert_close(recorder.influence.sum(0), drop, rtol=1e-9, atol=1e-11)
    assert bool((recorder.influence[[1, 2, 4, 5, 6, 7]] == 0).all())


def test_what_falls_between_steps_is_said():
    model = small.make_model()
    recorder = IdealRecorder(model, TEST, 9)
    inputs, targets = (tensor[:2] for tensor in TRAIN.tensors)
    for _ in range(2):
        with recorder.step(inputs, targets, [0, 1], 0.1):
            pass
        with torch.no_grad():
            model[2].bias += torch.tensor([1.0, 0.0, 0.0])
    assert float(recorder.changes.abs().max()) == 0
    assert float(recorder.unrecorded.abs().max()) > 0.01
    torch.testing.assert_close(recorder.unrecorded, recorder.total_drop)


def test_what_cannot_be_recorded_is_refused():
    recorder = IdealRecorder(small.make_model(), TEST, 9)
    with pytest.raises(ConfigurationError, match="0 recorded steps"):
        recorder.check_first_order()
    inputs, targets = (tensor[:2] for tensor in TRAIN.tensors)
    with (
        pytest.raises(ConfigurationError, match="3 positions for 2 examples"),
        recorder.step(inputs, targets, [0, 1, 2], 0.1),
    ):
        pass
