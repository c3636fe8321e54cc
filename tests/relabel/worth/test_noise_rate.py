"""The rate's arithmetic against the slow, obvious version, and its properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.worth.audit import draw_with_repetition, draw_without_repetition
from relabel.worth.noise_rate import (
    count_for_width,
    estimate_uniform,
    estimate_weighted,
    make_draw_weights,
)

Z = 1.959963984540054


def wilson_oracle(wrong, count):
    """Wilson 1927: the rates that a test at 5% would not reject, found by bisection."""
    share = wrong / count

    def is_kept(rate):
        return (share - rate) ** 2 <= Z * Z * rate * (1 - rate) / count

    ends = []
    for outside in (0.0, 1.0):
        inside = share
        edge = outside
        if is_kept(edge):
            ends.append(edge)
            continue
        for _ in range(80):
            middle = (edge + inside) / 2
            edge, inside = (edge, middle) if is_kept(middle) else (middle, inside)
        ends.append(inside)
    return tuple(ends)


@given(count=st.integers(1, 500), data=st.data())
def test_a_uniform_audit_has_the_interval_of_wilson(count, data):
    wrong = data.draw(st.integers(0, count))
    found = estimate_uniform(wrong, count)
    assert found.rate == wrong / count
    assert (found.low, found.high) == pytest.approx(wilson_oracle(wrong, count), abs=1e-9)


def test_an_audit_without_answers_knows_nothing():
    assert (estimate_uniform(0, 0).low, estimate_uniform(0, 0).high) == (0.0, 1.0)
    nothing = np.zeros(0)
    found = estimate_weighted(nothing, nothing, nothing, num_examples=9, mean_guess=0.25)
    assert (found.rate, found.low, found.high) == (0.25, 0.0, 1.0)


@given(guesses=st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_the_weights_of_a_draw_are_chances_of_which_none_is_small(guesses):
    weights = make_draw_weights(np.array(guesses))
    assert math.isclose(weights.sum(), 1)
    assert (weights >= 0.2 / len(guesses) - 1e-12).all()
    spread = [math.sqrt(g * (1 - g) + 0.01) for g in guesses]
    expected = [0.2 / len(guesses) + 0.8 * one / sum(spread) for one in spread]
    assert weights == pytest.approx(expected)


@given(
    errors=st.lists(st.booleans(), min_size=2, max_size=8),
    seed=st.integers(0, 100),
)
def test_the_weighted_estimate_is_right_in_the_mean_whatever_is_guessed(errors, seed):
    """Over all possible single draws, each as often as it is probable."""
    wrong = np.array(errors, dtype=float)
    guesses = np.random.default_rng(seed).random(len(wrong))
    chances = make_draw_weights(guesses)
    terms = [
        guesses.mean() + (wrong[i] - guesses[i]) / (len(wrong) * chances[i])
        for i in range(len(wrong))
    ]
    assert math.isclose(float(np.dot(chances, terms)), wrong.mean(), abs_tol=1e-9)
    # And the function returns the mean of such terms, where that is a share.
    drawn = np.arange(len(wrong))
    found = estimate_weighted(
        wrong, guesses, chances, num_examples=len(wrong), mean_guess=float(guesses.mean())
    )
    assert found.rate == pytest.approx(
        min(1.0, max(0.0, float(np.mean([terms[i] for i in drawn]))))
    )
    assert 0 <= found.low <= found.rate <= found.high <= 1


@pytest.mark.parametrize("size", [60, 400])
def test_the_weighted_interval_covers_the_rate_and_is_narrower(size):
    """On 4,000 labels, a tenth wrong, by a guess that is right about most; 300 draws."""
    rng = np.random.default_rng(0)
    score = rng.normal(size=4000)
    truth = 1 / (1 + np.exp(-(3 * score - 4.6)))
    wrong = (rng.random(4000) < truth).astype(float)
    guesses = 1 / (1 + np.exp(-(2 * score - 3)))  # a wrong one: twice as many errors
    chances = make_draw_weights(guesses)
    covered, widths, uniform_widths = [], [], []
    for seed in range(300):
        drawn = draw_with_repetition(f"{seed:x}", chances, size)
        found = estimate_weighted(
            wrong[drawn],
            guesses[drawn],
            chances[drawn],
            num_examples=4000,
            mean_guess=float(guesses.mean()),
        )
        covered.append(found.low <= wrong.mean() <= found.high)
        widths.append(found.half_width)
        plain = draw_without_repetition(f"{seed:x}", 4000)[:size]
        uniform_widths.append(estimate_uniform(int(wrong[plain].sum()), size).half_width)
    # Three standard deviations of 300 draws below 95%.
    assert np.mean(covered) > 0.91
    assert np.mean(widths) < np.mean(uniform_widths)


@given(rate=st.floats(0.001, 0.999), half_width=st.floats(0.005, 0.4))
def test_as_many_items_as_are_needed_and_no_more(rate, half_width):
    count = count_for_width(rate, half_width)

    def half(size):
        centre = Z * math.sqrt(rate * (1 - rate) / size + Z * Z / (4 * size * size))
        return centre / (1 + Z * Z / size)

    if count > 1:
        low_end_is_cut = rate < 0.1 or rate > 0.9
        assert half(count - 1) > half_width or low_end_is_cut
    assert half(count) <= half_width + 1e-9 or rate < 0.1 or rate > 0.9


@given(seed=st.integers(0, 2**64), count=st.integers(1, 60))
def test_a_draw_without_repetition_is_an_order_of_all(seed, count):
    drawn = draw_without_repetition(f"{seed:x}", count).tolist()
    assert sorted(drawn) == list(range(count))


def test_a_longer_draw_begins_as_a_shorter_one_and_is_as_frequent_as_its_chances():
    chances = np.array([0.5, 0.3, 0.2])
    short, long = (draw_with_repetition("abc", chances, size) for size in (10, 6000))
    assert long[:10].tolist() == short.tolist()
    shares = np.bincount(long, minlength=3) / 6000
    assert shares == pytest.approx(chances, abs=5 * math.sqrt(0.25 / 6000))
