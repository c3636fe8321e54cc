"""The stopping rules against the slow, obvious versions of their papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from relabel.errors import InvalidDecisionError
from relabel.worth.stopping import (
    Goal,
    compute_cmh,
    count_needed,
    forecast_stop,
    least_errors,
    read_goal,
)


def cmh_oracle(errors, num_ranked, recall):
    """Callaghan and Mueller-Hansen 2020: the least over windows of the last reviews."""
    n, found = len(errors), sum(errors)
    if not found:
        return 1.0
    least = 1.0
    for u in range(1, n + 1):
        k = sum(errors[n - u :])
        population = num_ranked - (n - u)
        missing = math.floor(found / recall + 1) - (found - k)
        if missing > population:
            return 0.0
        least = min(least, float(hypergeom.cdf(k, population, missing, u)))
    return least


@settings(max_examples=40)
@given(
    errors=st.lists(st.booleans(), min_size=1, max_size=30),
    rest=st.integers(0, 60),
    recall=st.sampled_from([0.5, 0.8, 0.95]),
)
def test_cmh_is_the_least_of_all_windows(errors, rest, recall):
    found = compute_cmh(np.array(errors), len(errors) + rest, recall)
    assert found == pytest.approx(cmh_oracle(errors, len(errors) + rest, recall))


def test_fewer_windows_can_only_stop_later():
    errors = np.arange(600) < 80
    assert compute_cmh(errors, 4000, 0.8, 20) >= compute_cmh(errors, 4000, 0.8, 600)


@pytest.mark.parametrize(("recall", "errors"), [(0.8, 14), (0.9, 29), (0.95, 59)])
def test_so_many_errors_found_by_chance_certify_a_recall(recall, errors):
    goal = Goal(recall, 0.95)
    assert least_errors(goal) == errors
    assert count_needed(errors, goal) == errors
    assert count_needed(errors - 1, goal) is None


@given(num_errors=st.integers(0, 200), recall=st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_qbcb_asks_for_the_least_number(num_errors, recall):
    possible = [j for j in range(1, num_errors + 1) if binom.cdf(j - 1, num_errors, recall) >= 0.95]
    assert count_needed(num_errors, Goal(recall, 0.95)) == (possible[0] if possible else None)


def test_a_list_whose_errors_have_run_out_is_met_and_one_in_its_midst_is_not():
    errors = np.concatenate([np.ones(80, bool), np.zeros(700, bool)])
    assert forecast_stop(errors, 2000, Goal()).is_met
    midst = forecast_stop(errors[:90], 2000, Goal())
    assert not midst.is_met
    assert midst.more is not None
    assert 0 < midst.more <= 1910
    assert not forecast_stop(np.ones(5, bool), 2000, Goal()).is_met


def test_a_list_that_is_reviewed_to_its_end_is_met():
    assert forecast_stop(np.ones(30, bool), 30, Goal()).is_met


def test_cmh_keeps_its_promise_on_lists_drawn_at_random():
    """80 lists of 600 whose errors thin out; stopped as soon as it may, every 30 reviews."""
    rng = np.random.default_rng(0)
    places = np.arange(600)
    short = 0
    for _ in range(80):
        errors = rng.random(600) < 0.9 * np.exp(-places / 90)
        for n in range(30, 601, 30):
            if compute_cmh(errors[:n], 600, 0.8, 40) < 0.05:
                break
        short += errors[:n].sum() < 0.8 * errors.sum()
    assert short / 80 < 0.1


@pytest.mark.parametrize(("recall", "confidence"), [(0, 0.95), (1, 0.95), (0.8, 1), (0.8, 0.2)])
def test_a_goal_that_nobody_can_promise_is_refused(recall, confidence):
    with pytest.raises(InvalidDecisionError, match="Expected a recall"):
        Goal(recall, confidence)


@pytest.mark.parametrize("found", [None, 3, {}, {"recall": "x", "confidence": 1}, {"recall": 2}])
def test_settings_that_say_nothing_right_have_the_usual_goal(found):
    assert read_goal({"stopping": found}) == Goal()
