"""Files of a cross-validation that are cut, changed or hold no numbers are told from whole ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

from relabel.runs.held_out import (
    PREDICTIONS_FILE,
    SUMMARY_FILE,
    HeldOutSummary,
    is_whole,
    open_held_out,
    recall_summary,
    write_held_out,
)

SUMMARY = HeldOutSummary(candidates=(), agreement=0.5, folds=2, repeats=1, num_examples=6)


@pytest.fixture
def folder(tmp_path):
    probabilities = np.full((6, 3), 0.1)
    probabilities[:, 2] = 0.8
    write_held_out(tmp_path, SUMMARY, probabilities)
    return tmp_path


def cut(folder):
    path = folder / PREDICTIONS_FILE
    path.write_bytes(path.read_bytes()[:-8])


def change_summary(folder):
    (folder / SUMMARY_FILE).write_text(json.dumps({"candidates": [{"name": 3}]}))


@pytest.mark.parametrize("harm", [cut, change_summary])
def test_what_is_damaged_is_not_taken_for_whole(folder, harm):
    assert is_whole(folder, 6, 3)
    assert not is_whole(folder, 7, 3)
    harm(folder)
    assert not is_whole(folder, 6, 3)
    write_held_out(folder, SUMMARY, np.full((6, 3), 1 / 3))
    assert is_whole(folder, 6, 3)


def test_an_opinion_names_two_labels_and_knows_no_class_that_came_later(folder):
    held_out = open_held_out(folder, 6, 3)
    said = held_out.opinion(4, 0)
    assert (said.label, said.runner_up) == (2, 0)
    assert said.probability == pytest.approx(0.8)
    assert said.given_probability == pytest.approx(0.1)
    assert held_out.opinion(4, 3).given_probability == 0.0


def test_what_is_no_number_is_an_error_and_no_label(tmp_path):
    write_held_out(tmp_path, SUMMARY, np.full((6, 3), np.nan))
    held_out = open_held_out(tmp_path, 6, 3)
    with pytest.raises(ValueError, match="no numbers"):
        held_out.opinion(0, 0)
    write_held_out(tmp_path, SUMMARY, np.full(6, np.inf))
    with pytest.raises(ValueError, match="no number"):
        open_held_out(tmp_path, 6, 0).value(0)


def test_a_summary_comes_back_from_a_database_and_a_damaged_one_does_not():
    config = {"held_out": json.loads(json.dumps(SUMMARY.to_json()))}
    assert recall_summary(config) == SUMMARY
    for damaged in ({}, {"held_out": None}, {"held_out": {"candidates": 3}}, {"held_out": []}):
        assert recall_summary(damaged) is None
