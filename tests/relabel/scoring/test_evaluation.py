"""Detection measures agree with their definitions, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.errors import NotFoundError, WorkspaceError
from relabel.importers.ingest.truth import read_truth, write_truth
from relabel.scoring.evaluate import INSPECTED_SHARES, evaluate_detection, expect_from_chance

# Few different scores, so that many are equal.
RANKINGS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60).filter(
    lambda pairs: len({wrong for _, wrong in pairs}) == 2
)


def win_against_each(scores, wrong) -> float:
    """Return the AUROC by its definition: the share of pairs in order, equal ones count half."""
    above, below = scores[wrong][:, None], scores[~wrong][None, :]
    return float((above > below).mean() + (above == below).mean() / 2)


def average_over_errors(scores, wrong) -> float:
    """Return the average precision by its definition: at each error, among all as suspect."""
    return float(np.mean([wrong[scores >= score].mean() for score in scores[wrong]]))


@given(RANKINGS)
def test_measures_agree_with_their_definitions(pairs):
    scores = np.array([score for score, _ in pairs], dtype=float)
    wrong = np.array([wrong for _, wrong in pairs])
    found = evaluate_detection("mean_loss", scores, wrong)
    assert found.auroc == pytest.approx(win_against_each(scores, wrong))
    assert found.average_precision == pytest.approx(average_over_errors(scores, wrong))


def test_a_perfect_ranking_finds_all_errors_first():
    wrong = np.arange(100) < 10
    found = evaluate_detection("mean_loss", -np.arange(100.0), wrong)
    assert found.found == (0.5, 1.0, 1.0, 1.0)
    assert (found.auroc, found.average_precision) == pytest.approx((1.0, 1.0), rel=1e-15)


def test_chance_finds_what_it_inspects():
    wrong = np.arange(100) < 10
    assert expect_from_chance(wrong).found == INSPECTED_SHARES
    assert expect_from_chance(wrong).average_precision == pytest.approx(0.1)


def test_nothing_to_tell_apart_is_said():
    with pytest.raises(NotFoundError, match="0 of 3 train labels are wrong"):
        evaluate_detection("mean_loss", np.zeros(3), np.zeros(3, dtype=bool))


def test_the_truth_loads_back_equal(tmp_path):
    write_truth(tmp_path / "truth.parquet", ["a", "b"], np.array([3, 1]))
    assert read_truth(tmp_path / "truth.parquet") == {"a": 3, "b": 1}


def test_an_unknown_truth_is_said(tmp_path):
    with pytest.raises(NotFoundError, match="true labels of this project are not known"):
        read_truth(tmp_path / "truth.parquet")


def test_a_damaged_truth_is_said(tmp_path):
    (tmp_path / "truth.parquet").write_bytes(b"garbage")
    with pytest.raises(WorkspaceError, match=r"truth\.parquet cannot be read"):
        read_truth(tmp_path / "truth.parquet")
