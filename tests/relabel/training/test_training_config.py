from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.training.config import (
    RESIDUAL_BOUND,
    TrainingConfig,
    suggest_training,
)
from tracin_core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.4, 0.4, 0.4, 0.4]),
        ("cosine", [0.4, 0.4 * 0.8535534, 0.2, 0.4 * 0.1464466]),
        ("step", [0.4, 0.4, 0.04, 0.004]),
    ],
)
def test_the_rate_follows_its_schedule(schedule, expected):
    config = TrainingConfig(learning_rate=0.4, schedule=schedule)
    assert [config.rate_at(step, 4) for step in range(4)] == pytest.approx(expected)


@given(st.sampled_from(["constant", "cosine", "step"]), st.integers(1, 200))
def test_a_rate_is_positive_and_never_rises(schedule, steps):
    config = TrainingConfig(schedule=schedule)
    rates = [config.rate_at(step, steps) for step in range(steps)]
    assert min(rates) > 0
    assert rates == sorted(rates, reverse=True)


def test_much_data_gets_fewer_passes_and_larger_steps():
    few, many = (suggest_training("image", num_examples=count) for count in (2_000, 60_000))
    assert (many.epochs, many.batch_size) == (few.epochs // 2, 2 * few.batch_size)
    assert few.device == "cpu"
    assert many.device == "auto"


@pytest.mark.parametrize("kind", ["image", "text", "table"])
def test_the_suggested_options_survive_json(kind):
    config = suggest_training(kind, seed=3)
    assert TrainingConfig(**json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"schedule": "linear"},
        {"num_checkpoints": 0},
        {"num_threads": 0},
    ],
)
def test_impossible_options_are_refused_by_name(changes):
    with pytest.raises(ConfigurationError, match=next(iter(changes))):
        TrainingConfig(**changes)


def test_a_regression_is_trained_with_a_bound_and_classes_without_one():
    assert suggest_training("table", loss="mse").residual_bound == RESIDUAL_BOUND
    assert suggest_training("table").residual_bound is None
    with pytest.raises(ConfigurationError, match="residual_bound"):
        TrainingConfig(residual_bound=2.0)  # a cross-entropy has no residuals
    with pytest.raises(ConfigurationError, match="residual_bound"):
        TrainingConfig(loss="mse", residual_bound=0.0)


def test_a_training_without_a_bound_is_saved_as_before_there_was_one():
    assert "residual_bound" not in TrainingConfig(loss="mse").to_json()
    bounded = TrainingConfig(loss="mse", residual_bound=2.0)
    assert TrainingConfig(**json.loads(json.dumps(bounded.to_json()))) == bounded
