"""How many epochs: rounds that lower the loss on held-out examples, and no others."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from relabel.training.loop import train
from relabel.training.quality import LEAST_WATCHED, halve
from relabel.training.rounds import has_fallen, judge_course
from relabel.training.storage import RESULT_FILE, load_json
from tests.relabel.training.tiny import CONFIG, make_data, make_model

# Two epochs of small steps: the first round leaves much to learn.
SLOW = dataclasses.replace(CONFIG, epochs=2, learning_rate=0.01, rounds=10)
LOSSES = st.floats(0, 5)


def judge(means, ends, **changes):
    options = {"guessing": [False] * len(ends), "round_epochs": 4, "rounds": 5, "seconds": 1.0}
    return judge_course(means, ends, **(options | {"max_seconds": None} | changes))


def flat(*losses: float) -> list[list[float]]:
    """The same loss on each of ten examples, at the end of each round."""
    return [[loss] * 10 for loss in losses]


def test_a_round_that_lowers_the_loss_calls_for_another():
    assert judge([1.0] * 4, flat(1.0)).reason is None
    assert judge([1.0] * 8, flat(1.0, 0.8)).reason is None


def test_one_that_does_not_is_dropped_and_ends_it():
    verdict = judge([1.0] * 12, flat(1.0, 0.8, 0.81))
    assert (verdict.reason, verdict.kept) == ("settled", 8)
    assert (verdict.before, verdict.after) == pytest.approx((0.8, 0.81))


def test_while_the_model_is_guessing_one_round_in_vain_is_forgiven():
    assert judge([1.0] * 8, flat(1.0, 1.0), guessing=[True, True]).reason is None
    verdict = judge([1.0] * 12, flat(1.0, 1.0, 1.0), guessing=[True] * 3)
    assert (verdict.reason, verdict.kept) == ("settled", 4)
    assert judge([1.0] * 12, flat(1.0, 1.0, 0.5), guessing=[True] * 3).reason is None


def test_a_loss_that_rises_for_long_ends_it_where_it_was_lowest():
    verdict = judge([1.0, 0.5, 0.7, 0.8, 0.9], [], round_epochs=12)
    assert (verdict.reason, verdict.kept, verdict.before, verdict.after) == ("rose", 2, 0.5, 0.9)
    assert judge([1.0, 0.5, 0.7, 0.8, 0.52], [], round_epochs=12).reason is None


def test_a_later_round_that_rises_is_dropped_whole():
    verdict = judge([1.0] * 4 + [0.9, 1.2, 1.3, 1.4], flat(1.0, 1.4), round_epochs=4)
    assert (verdict.reason, verdict.kept) == ("settled", 4)
    verdict = judge([1.0] * 12 + [0.9, 1.2, 1.3, 1.4], flat(1.0), round_epochs=12)
    assert (verdict.reason, verdict.kept) == ("rose", 12)


def test_the_number_and_the_time_are_limits():
    falling = flat(1.0, 0.8, 0.6, 0.4, 0.2)
    assert judge([1.0] * 20, falling).reason == "most epochs"
    assert judge([1.0] * 8, falling[:2], seconds=60.0, max_seconds=90.0).reason is None
    verdict = judge([1.0] * 8, falling[:2], seconds=60.1, max_seconds=90.0)
    assert (verdict.reason, verdict.kept) == ("time", 8)


@given(st.lists(st.tuples(LOSSES, LOSSES), min_size=2, max_size=30))
def test_a_loss_cannot_fall_and_rise(pairs):
    before, after = zip(*pairs, strict=True)
    assert not (has_fallen(before, after) and has_fallen(after, before))
    assert not has_fallen(before, before)


def test_one_lucky_example_is_no_fall():
    assert not has_fallen([1.0] * 20, [0.0] + [1.02] * 19)
    assert has_fallen([1.0] * 20, [0.9] * 20)


def test_halves_are_apart_whole_and_always_the_same():
    first, again = halve(make_data(61)), halve(make_data(61))
    watched, judging = ({tuple(part[i][0].tolist()) for i in range(len(part))} for part in first)
    assert len(watched | judging) == 61
    assert not watched & judging
    assert torch.equal(first[1].targets, again[1].targets)
    assert halve(make_data(2 * LEAST_WATCHED - 1)) is None


def test_it_goes_on_beyond_its_epochs_and_writes_down_why_it_ended(tmp_path):
    test_set = make_data(200, seed=1)
    fixed = train(
        make_model(), make_data(), test_set, dataclasses.replace(SLOW, rounds=1), tmp_path
    )
    records = train(make_model(), make_data(), test_set, SLOW, tmp_path / "rounds")
    assert records[-1].test_loss < 0.8 * fixed[-1].test_loss
    course = load_json(tmp_path / "rounds" / RESULT_FILE)
    quality = course["quality"]
    assert quality["epochs"] == len(course["epochs"]) > 2
    assert quality["reason"] in ("settled", "most epochs", "rose")
    assert quality["num_judged"] == 100
    assert quality["guess"] == pytest.approx(1 / 3, abs=0.1)
    assert quality["guess_loss"] == pytest.approx(math.log(3), abs=0.05)
    kept = {8 * epoch["epoch"] for epoch in course["epochs"]}
    stored = {int(path.stem[5:]) for path in (tmp_path / "rounds").rglob("step-*.pt")}
    assert stored <= kept
    assert {record.step for record in records} <= stored
    assert load_json(tmp_path / RESULT_FILE)["quality"]["reason"] == "fixed"


def test_without_held_out_examples_the_epochs_are_those_that_were_set(tmp_path):
    train(make_model(), make_data(), make_data(0), SLOW, tmp_path)
    quality = load_json(tmp_path / RESULT_FILE)["quality"]
    assert (quality["reason"], quality["num_judged"]) == ("too few", 0)


@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_a_training_in_rounds_goes_on_with_the_same_bits(tmp_path, stop_after):
    class StoppedError(Exception):
        pass

    def stop(share: float, message: str) -> None:
        if len(list((tmp_path / "parts").rglob("step-*.pt"))) >= stop_after:
            raise StoppedError

    test_set = make_data(60, seed=1)
    expected = train(make_model(), make_data(), test_set, SLOW, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(make_model(), make_data(), test_set, SLOW, tmp_path / "parts", stop)
    assert train(make_model(), make_data(), test_set, SLOW, tmp_path / "parts") == expected
    ends = [load_json(tmp_path / name / RESULT_FILE) for name in ("whole", "parts")]
    assert ends[0]["quality"] == ends[1]["quality"]
