from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.training.selection import choose_checkpoints, guessing_accuracy

CURVES = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1)), min_size=1, max_size=30).map(
    lambda pairs: ([loss for loss, _ in pairs], [accuracy for _, accuracy in pairs])
)


def indices(losses, accuracies, *, chance=0.1, count=8):
    return [c.index for c in choose_checkpoints(losses, accuracies, chance=chance, count=count)]


def test_they_lie_at_equal_steps_of_the_loss():
    losses = [2.0, 1.9, 1.5, 1.1, 1.0, 0.5, 0.4, 0.1, 0.0]
    assert indices(losses, [0.5] * 9, count=5) == [0, 2, 4, 5, 8]


def test_none_is_from_before_the_model_beats_chance():
    losses = [2.0, 1.5, 1.0, 0.5]
    chosen = choose_checkpoints(losses, [0.1, 0.1, 0.4, 0.9], chance=0.15, count=8)
    assert [choice.index for choice in chosen] == [2, 3]


def test_to_reach_chance_is_not_to_beat_it():
    assert indices([3.0, 2.0, 1.0], [0.5, 0.6, 0.7], chance=0.5, count=3) == [1, 2]


def test_of_equal_falls_the_earlier_fills_up():
    losses = [10.0, 9.0, 8.0, 0.0]
    assert indices(losses, [0.9] * 4, count=3) == [0, 1, 3]
    assert indices(losses, [0.9] * 4, count=4) == [0, 1, 2, 3]


def test_after_convergence_there_are_none():
    losses = [2.0, 1.0, 0.5, 0.2] + [0.2] * 50
    assert max(indices(losses, [0.9] * 54)) == 3


def test_a_slow_decrease_late_in_the_training_gets_few():
    losses = [2.0, 1.6, 1.2, 0.8, 0.4] + [0.4 - 0.001 * i for i in range(1, 50)]
    chosen = indices(losses, [0.9] * len(losses), count=5)
    assert sum(index > 4 for index in chosen) == 1


def test_a_leap_over_several_steps_is_filled_up_with_the_next_largest_falls():
    losses = [2.0, 0.2, 0.19, 0.15, 0.14, 0.1]
    assert indices(losses, [0.9] * 6, count=4) == [0, 1, 3, 5]


def test_a_loss_that_rises_is_no_progress():
    losses = [2.0, 1.0, 1.8, 1.7, 0.9, 0.0]
    assert 2 not in indices(losses, [0.9] * 6, count=6)
    assert 3 not in indices(losses, [0.9] * 6, count=6)


def test_a_model_that_never_beats_chance_is_said_to():
    chosen = choose_checkpoints([2.0, 1.0], [0.1, 0.1], chance=0.5, count=2)
    assert [choice.index for choice in chosen] == [0, 1]
    assert all("doubt every score" in choice.reason for choice in chosen)


@given(curve=CURVES, chance=st.floats(0, 1), count=st.integers(1, 10))
def test_any_training_gives_some_epochs_in_order_each_with_a_reason(curve, chance, count):
    losses, accuracies = curve
    chosen = choose_checkpoints(losses, accuracies, chance=chance, count=count)
    found = [choice.index for choice in chosen]
    assert 1 <= len(found) <= count
    assert found == sorted(set(found))
    assert all(choice.reason.endswith(".") for choice in chosen)
    if any(accuracy > chance for accuracy in accuracies):
        assert all(accuracies[index] > chance for index in found)


@given(curve=CURVES, count=st.integers(2, 10), shift=st.floats(0, 3))
def test_only_the_differences_of_the_loss_matter(curve, count, shift):
    losses = [round(loss, 3) for loss in curve[0]]
    # Whole numbers, so that the shift rounds nothing.
    whole = [float(round(loss * 1000)) for loss in losses]
    moved = [loss + round(shift * 1000) for loss in whole]
    accuracies = [1.0] * len(whole)
    assert indices(whole, accuracies, count=count) == indices(moved, accuracies, count=count)


def test_the_guess_is_the_most_frequent_class_and_some_luck():
    assert guessing_accuracy([50, 50]) == pytest.approx(0.5 + 2 * 0.05)
    assert guessing_accuracy([900, 100]) == pytest.approx(0.9 + 2 * (0.09 / 1000) ** 0.5)
    assert guessing_accuracy([7, 0]) < 1.0
    assert guessing_accuracy([]) == 0.0


def test_curves_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="as many accuracies"):
        choose_checkpoints([1.0], [], chance=0.1, count=3)
