"""From measured signals to rankings and stored rows, with numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from relabel.runs.config import TargetScale
from relabel.runs.signals import Signals
from relabel.scoring.measured import as_value_shard
from relabel.scoring.reuse import ReusableRun
from relabel.triage.signals import choose_default_signal, compute_signals, name_signals
from tracin_core.capture.signals import Capture


def rows(*values: list[float]) -> Any:
    return np.array(values, dtype=np.float32)


# Two checkpoints of three examples.
SIGNALS = Signals(
    scores={
        "self_influence_last": rows([1, 2, 3], [10, 20, 0]),
        "self_influence_all": rows([4, 5, 6], [1, 1, 1]),
    },
    loss=rows([0.5, 1, 2], [1.5, 1, 0]),
    margin=rows([3, -1, 0], [1, -3, 0]),
    predicted=np.zeros((2, 3), dtype=np.int16),
    given_probability=rows([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
)


def as_lists(scores: dict[str, Any]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in scores.items()}


def test_every_ranking_is_high_for_suspects():
    assert as_lists(compute_signals(SIGNALS, [0.5, 0.25])) == {
        "self_influence": [11, 22, 3],
        "self_influence_all": [5, 6, 7],
        "self_influence_recorded": [3, 6, 1.5],
        # Means of the checkpoints are 2 and 10: (1/2 + 10/10) / 2, ...
        "self_influence_normalised": [0.75, 1.5, 0.75],
        "mean_loss": [1, 1, 1],
        "mean_margin": [-2, 2, 0],
    }


def test_what_was_not_measured_or_is_not_known_is_no_ranking():
    alone = replace(SIGNALS, scores={"self_influence_last": SIGNALS.scores["self_influence_last"]})
    assert set(compute_signals(alone, [0.5, None])) == {
        "self_influence",
        "self_influence_normalised",
        "mean_loss",
        "mean_margin",
    }


def test_a_number_that_is_off_in_either_direction_is_suspect():
    signals = replace(SIGNALS, residual=rows([1, -4, 0], [-1, -2, 0]))
    scores = as_lists(compute_signals(signals, [0.5, 0.25]))
    assert scores["mean_residual"] == [1, 3, 0]
    assert "mean_margin" not in scores


def test_residuals_are_given_minus_predicted_in_the_targets_unit():
    predicted = torch.tensor([[0.0, 1.0], [0.5, -1.0]])
    nothing = torch.zeros(2, 2)
    capture = Capture(
        squared_norms_all=nothing,
        squared_norms_last=nothing,
        losses=nothing,
        margins=nothing,
        predicted=predicted,
        given_probability=nothing,
        probabilities=nothing,
        vectors=None,
        last_vectors=None,
        rates=torch.ones(2),
    )
    scale = TargetScale(mean=100.0, std=10.0)
    signals = as_value_shard(capture, {}, torch.tensor([1.0, -1.0]), scale).signals
    assert signals.predicted_value is not None
    assert signals.residual is not None
    assert signals.predicted_value.tolist() == [[100, 110], [105, 90]]
    assert signals.residual.tolist() == [[10, -20], [5, 0]]


@pytest.mark.parametrize("place", [0, 7, 15])
def test_a_digest_that_differs_in_one_byte_is_another_example(place: int):
    known = np.zeros((6, 16), dtype=np.uint8)
    run = ReusableRun(None, "a", 1, ("last",), {"train": known})  # type: ignore[arg-type]
    now = known[2:5].copy()
    now[1, place] = 1
    assert run.find_changed("train", 2, now).tolist() == [3]
    assert run.find_changed("train", 2, known[2:5]).tolist() == []
    # The project has grown beyond the run.
    assert run.find_changed("train", 5, known[:2]).tolist() == [5, 6]


def test_the_scores_of_a_method_that_is_not_known_here_rank_under_their_own_name():
    names = ["mean_loss", "theirs"]
    assert name_signals(names) == {"theirs": "theirs", "mean_loss": "Mean loss"}
    assert choose_default_signal(names) == "theirs"
