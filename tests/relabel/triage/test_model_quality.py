"""A weak model is said, with numbers and a way out; a good one is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.runs.held_out import CandidateResult, HeldOutSummary, measure_agreement
from relabel.triage.model_quality import UnseenLabels, judge_quality

# What trainings wrote down: of five hundred texts after twenty epochs and after forty, of the
# demos, of a part of Fashion-MNIST, of California housing, of labels drawn by chance.
GOOD = {
    "tickets": (0.74, 100, 0.34, 0.80, 1.098, 0.897, 0.37, 1.098),
    "digits": (0.972, 359, 0.10, 0.213, 2.303, 0.897, 0.481, 2.302),
    "docs": (0.852, 640, 0.147, 0.581, 2.07, 0.891, 0.482, 2.079),
    "fashion": (0.86, 500, 0.118, 0.49, 2.295, 0.872, 0.461, 2.301),
    "one class in ten, told apart": (0.93, 120, 0.9, 0.17, 0.325, 0.94, 0.16, 0.325),
}
WEAK = {
    "tickets, 20 epochs": (0.57, 100, 0.34, 1.03, 1.098, 0.627, 1.006, 1.098),
    "chance": (0.32, 500, 0.36, 1.3, 1.098, 0.80, 0.6, 1.098),
    "always the same": (0.90, 120, 0.90, 0.345, 0.325, 0.90, 0.317, 0.325),
}


def facts(measure, number, guess, loss, guess_loss, train_measure, train_loss, train_guess):
    return {
        "num_train": 1000,
        "num_judged": number,
        "measure": measure,
        "loss": loss,
        "guess": guess,
        "guess_loss": guess_loss,
        "train_measure": train_measure,
        "train_loss": train_loss,
        "train_guess_loss": train_guess,
        "is_regression": False,
        "epochs": 20,
        "epochs_tried": 20,
        "round_epochs": 20,
        "rounds": 1,
        "max_seconds": None,
        "reason": "fixed",
        "loss_before": None,
        "loss_after": None,
        "last_losses": [loss, loss, loss, loss],
    }


@pytest.mark.parametrize("name", GOOD)
def test_a_good_model_raises_no_alarm(name):
    assert judge_quality(facts(*GOOD[name])).warnings == ()


@pytest.mark.parametrize("name", WEAK)
def test_one_near_guessing_is_said_with_its_numbers(name):
    (warning,) = judge_quality(facts(*WEAK[name])).warnings
    assert "better than guessing" in warning
    assert f"{WEAK[name][0]:.0%} of {WEAK[name][1]} held-out examples" in warning
    assert f"{WEAK[name][2]:.0%}" in warning
    assert "train longer" in warning


@given(number=st.integers(25, 5000), guess=st.floats(0.05, 0.95), luck=st.floats(-3, 3))
def test_what_luck_brings_is_guessing_and_what_it_cannot_is_none(number, guess, luck):
    error = math.sqrt(guess * (1 - guess) / number)
    measure = guess + luck * error
    if not 0 <= measure <= 1 or abs(luck - 2) < 1e-6:
        return
    said = judge_quality({"measure": measure, "num_judged": number, "guess": guess}).warnings
    assert bool(said) == (luck <= 2)


def test_learned_by_heart_is_said():
    (warning,) = judge_quality(facts(0.55, 300, 0.11, 2.5, 2.3, 0.97, 0.12, 2.3)).warnings
    assert "by heart" in warning
    assert "97% of the train labels as given, and 55% of 300 held-out" in warning
    assert "fewer epochs" in warning


def test_nearly_perfect_on_both_is_not_by_heart():
    assert judge_quality(facts(0.97, 180, 0.1, 0.1, 2.3, 1.0, 0.01, 2.3)).warnings == ()
    assert judge_quality(facts(0.88, 30, 0.1, 0.4, 2.3, 1.0, 0.01, 2.3)).warnings == ()


@pytest.mark.parametrize(
    ("changes", "numbers", "way_out"),
    [
        ({"last_losses": [2.05, 0.61, 0.38]}, "2.05 to 0.38", "leave their number open"),
        (
            {"reason": "time", "loss_before": 0.8, "loss_after": 0.6, "epochs_tried": 60},
            "0.8 to 0.6",
            "set one that is above the 60 epochs of now",
        ),
        (
            {"reason": "most epochs", "loss_before": 0.8, "loss_after": 0.6, "epochs_tried": 40},
            "0.8 to 0.6",
            "set one that is above the 40 epochs of now",
        ),
    ],
)
def test_a_loss_that_was_still_falling_is_said_with_the_way_out(changes, numbers, way_out):
    (warning,) = judge_quality(facts(*GOOD["digits"]) | changes).warnings
    assert f"still falling when the training ended ({numbers})" in warning
    assert way_out in warning
    assert warning.count("open") == 1


@pytest.mark.parametrize(
    "losses", [[0.208, 0.213, 0.214, 0.213], [0.587, 0.584, 0.581, 0.581], [0.5], []]
)
def test_one_that_had_settled_is_not(losses):
    assert judge_quality(facts(*GOOD["docs"]) | {"last_losses": losses}).warnings == ()


@pytest.mark.parametrize("number", [0, 1, 10, 24])
def test_too_few_examples_to_tell_is_said(number):
    known = facts(0.6, number, 0.5, 0.4, 0.7, 0.8, 0.3, 0.7)
    (warning,) = judge_quality(known | ({} if number else {"measure": None})).warnings
    assert ("No examples are held out" if not number else "too few to tell") in warning
    # Another accuracy than the page's own beside it would only confuse.
    assert not number or ("percentage points" in warning and "60%" not in warning)
    assert "held out for testing" in warning or "larger share for testing" in warning


def test_numbers_that_explain_nothing_are_said_and_one_absurd_target_is_no_alarm():
    known = facts(-0.16, 60, 0.0, 1.06, 0.943, 0.08, 0.905, 0.989) | {"is_regression": True}
    (warning,) = judge_quality(known).warnings
    assert "explains none of the variance of 60 held-out examples" in warning
    absurd = facts(0.0001, 60, 0.0, 0.25, 0.978, 0.158, 0.958, 1.589) | {"is_regression": True}
    assert judge_quality(absurd).warnings == ()


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("settled", "40 epochs; 20 further epochs did not lower the held-out loss (0.8 to 0.87)"),
        ("rose", "40 epochs; 20 further epochs were dropped, as the held-out loss rose"),
        ("time", "would have passed the limit of 180 s"),
        ("most epochs", "the most that are tried"),
        ("fixed", "40 epochs, as was set"),
        ("patience", "ended early"),
        ("too few", "too few examples are held out"),
    ],
)
def test_why_the_training_ended_is_said(reason, said):
    course = {
        "reason": reason,
        "epochs": 40,
        "epochs_tried": 60,
        "round_epochs": 20,
        "loss_before": 0.8,
        "loss_after": 0.87,
        "max_seconds": 180.0,
    }
    assert said in judge_quality(facts(*GOOD["tickets"]) | course).course


def test_nothing_known_is_nothing_said():
    judged = judge_quality({})
    assert (judged.warnings, judged.course) == ((), "")


def unseen(agreement: float, seen: float | None, *, number=1000, guess=0.2, **more) -> UnseenLabels:
    best = CandidateResult(
        name="a", title="Boosted trees", agreement=agreement, loss=1.0, seconds=1.0, network="mlp"
    )
    summary = HeldOutSummary(
        candidates=(best,),
        agreement=agreement,
        folds=5,
        repeats=1,
        num_examples=number,
        network="mlp",
    )
    return UnseenLabels(summary=summary, network="mlp", seen=seen, guess=guess, **more)


@pytest.mark.parametrize(
    ("agreement", "seen", "number", "said"),
    [
        (0.62, 0.97, 8000, True),
        (0.62, 0.80, 8000, False),  # contradicts more than half as many as the others
        (0.985, 0.999, 8000, False),  # by heart or not, there is hardly anything to learn so
        (0.80, 0.97, 30, False),  # luck can bring that
        (0.88, 0.85, 8000, False),
        (0.62, None, 8000, False),
    ],
)
def test_by_heart_is_what_others_that_have_not_seen_it_do_not_say(agreement, seen, number, said):
    judged = judge_quality({}, unseen(agreement, seen, number=number))
    assert judged.warnings == ()
    assert any("learned labels by heart" in one for one in judged.unseen) == said


def test_the_comparison_takes_the_place_of_what_held_out_examples_say():
    by_heart = facts(0.55, 300, 0.11, 2.5, 2.3, 0.97, 0.12, 2.3)
    agreement, choice, sentence = (judged := judge_quality(by_heart, unseen(0.55, 0.97))).unseen
    assert judged.warnings == ()
    assert "agree with 55% of the 1,000 given train labels" in agreement
    assert "(Boosted trees) agrees with 55%" in agreement
    assert "Multilayer perceptron; of the kinds of models that are networks" in choice
    assert "predicts 97% of the train labels as given" in sentence
    assert judge_quality({"num_judged": 0}, unseen(0.55, 0.6)).warnings == ()
    assert "No examples are held out" in judge_quality({"num_judged": 0}).warnings[0]


def test_models_that_only_guess_are_told():
    (warning,) = judge_quality({}, unseen(0.21, 0.9)).warnings
    assert "agree with 21% of 1,000 train labels" in warning
    assert "most frequent class does with 20%" in warning
    (warning,) = judge_quality({}, unseen(0.02, 0.9, guess=0.0, is_regression=True)).warnings
    assert "explain 2% of the variance of 1,000 train numbers" in warning


def test_a_slipped_point_does_not_decide_how_well_numbers_agree():
    given = np.arange(200.0)
    assert measure_agreement(given, given) == 1.0
    slipped = given.copy()
    slipped[7] = 1e9
    assert measure_agreement(given, slipped) > 0.99
    assert measure_agreement(np.full(200, given.mean()), given) < 0.05
    labels = np.array([0, 1, 1, 2])
    assert measure_agreement(np.array([0, 1, 2, 2]), labels) == 0.75
