"""What a comparison counts, on arrays that can be counted by hand."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.comparison.agreement import measure_agreement
from relabel.comparison.checkpoints import count_by_class
from relabel.comparison.contenders import choose_contenders, list_contenders
from relabel.comparison.curves import GRID, join_seeds, trace_curve
from relabel.comparison.figures import draw_agreement, draw_curves, draw_found_by_class, find_end
from relabel.comparison.meter import Meter
from relabel.comparison.options import CompareOptions
from relabel.comparison.saved import UNKNOWN, WRONG
from relabel.comparison.truth import mark_wrong, read_truth_file
from relabel.errors import NotFoundError
from tracin_core.attribution import list_methods
from tracin_core.errors import ConfigurationError

FLIPPED = np.array([True, False, True, False, False, False, False, False, False, False])


def test_a_perfect_ranking_finds_all_in_the_share_that_is_wrong():
    curve = trace_curve(FLIPPED.astype(float), FLIPPED)
    assert curve.found_at == pytest.approx((0.25, 0.5, 1.0, 1.0))
    assert curve.area == pytest.approx(1 - 0.2 / 2)


def test_equal_scores_give_the_diagonal():
    curve = trace_curve(np.zeros(10), FLIPPED)
    assert curve.found == pytest.approx(GRID)
    assert curve.area == pytest.approx(0.5)


def test_a_tie_counts_as_its_expectation_wherever_the_wrong_one_stands():
    wrong = np.array([False, True, False, False])
    assert trace_curve([1, 1, 0, 0], wrong).found_at[-1] == pytest.approx(0.6)
    assert trace_curve([1, 1, 0, 0], wrong[[1, 0, 2, 3]]).found_at[-1] == pytest.approx(0.6)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=30))
def test_the_curve_is_the_mean_of_many_random_orders_of_ties(rows):
    scores, wrong = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    if wrong.all() or not wrong.any():
        return
    curve = trace_curve(scores, wrong)
    best = trace_curve(scores + wrong * 0.1, wrong)
    worst = trace_curve(scores - wrong * 0.1, wrong)
    assert curve.area == pytest.approx((best.area + worst.area) / 2)
    assert (np.diff(curve.found) >= -1e-12).all()
    assert curve.found[-1] == pytest.approx(1)


def test_without_wrong_labels_there_is_no_curve():
    with pytest.raises(NotFoundError, match="0 of 10 train labels are wrong"):
        trace_curve(np.arange(10), np.zeros(10, dtype=bool))


def test_seeds_have_a_mean_and_a_range():
    best, worst = (
        trace_curve(FLIPPED.astype(float), FLIPPED),
        trace_curve(-FLIPPED.astype(float), FLIPPED),
    )
    band = join_seeds([best, worst])
    assert band.mean.area == pytest.approx(0.5)
    assert (band.area_low, band.area_high) == pytest.approx((0.1, 0.9))
    assert (band.low <= band.mean.found).all()
    assert (band.mean.found <= band.high).all()


def test_each_checkpoint_finds_the_wrong_labels_of_its_classes():
    scores = np.array([[9, 1, 0, 0], [0, 1, 9, 0]])
    counted = count_by_class(scores, [True, False, True, False], [0, 0, 1, 1], 3, top_share=0.25)
    assert counted.found.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert counted.wrong.tolist() == [1, 1, 0]
    assert np.isnan(counted.shares[:, 2]).all()


def test_a_tie_at_the_edge_of_the_first_is_shared():
    counted = count_by_class([[1, 1, 0, 0]], [True, False, False, False], [0, 0, 0, 0], 1, 0.25)
    assert counted.found.tolist() == [[0.5]]


def test_agreement_is_the_mean_overlap():
    left, right, nothing = [[1, 2], [3, 4]], [[2, 1], [5, 6]], [[], []]
    matrix = measure_agreement([left, right, nothing], top=2)
    assert matrix[0, 1] == matrix[1, 0] == 0.5
    assert matrix[0, 0] == 1
    assert matrix[0, 2] == 0
    assert np.isnan(matrix[2, 2])
    assert measure_agreement([left, right], top=1)[0, 1] == 0


def test_figures_hold_every_method_and_chance():
    curves = {
        "one": trace_curve(FLIPPED.astype(float), FLIPPED),
        "two": trace_curve(~FLIPPED, FLIPPED),
    }
    banded = draw_curves({**curves, "three": join_seeds(list(curves.values()))})
    assert [trace.name for trace in banded.data] == ["random order", "one", None, "three", "two"]
    counted = count_by_class(np.ones((2, 10)), FLIPPED, np.arange(10) % 3, 3)
    bars = draw_found_by_class(counted, ["a", "b", "c"], ["step 1", "step 2"])
    assert bars.layout.xaxis.ticktext == ("a", "c")
    assert len(bars.data) == 2
    heat = draw_agreement(np.array([[1.0, np.nan], [np.nan, 1.0]]), ["one", "two"])
    assert [note.text for note in heat.layout.annotations] == ["100%", "100%"]


def test_a_picture_shows_the_part_in_which_rankings_differ():
    wrong = np.arange(100) < 10
    best, chance = trace_curve(wrong.astype(float), wrong), trace_curve(np.ones(100), wrong)
    late = trace_curve(np.where(wrong, 0.5, np.arange(100) < 30), wrong)  # after twenty others
    assert find_end([best, chance]) == 0.2
    assert find_end([best, late]) == pytest.approx(1.3 * 0.3, abs=0.01)
    assert find_end([chance]) == 1


def test_work_is_measured_in_processor_time_and_memory():
    with Meter() as idle:
        time.sleep(0.05)
    with Meter() as busy:
        held = np.ones(4_000_000)
        for _ in range(5):
            held = np.sqrt(held)
    assert idle.seconds < 0.04
    assert busy.seconds > 0
    assert busy.peak_bytes is None or busy.peak_bytes > 16_000_000


def test_options_are_kept_as_json_and_checked():
    options = CompareOptions(methods=("random",), examples=3, also=(4,), seed=1)
    assert CompareOptions.from_json(options.to_json()) == options
    with pytest.raises(ConfigurationError, match="Give another --examples"):
        CompareOptions(examples=-1)
    with pytest.raises(ConfigurationError, match="does not know: solver"):
        CompareOptions.from_json({"solver": "cg"})


def test_every_method_can_be_compared_and_signals_of_the_other_task_not():
    known = list_contenders("classification")
    assert set(list_methods()) <= set(known)
    assert "mean_residual" not in known
    assert "mean_residual" in list_contenders("regression")
    assert [one.name for one in choose_contenders(["random", "random"], "regression")] == ["random"]


def test_a_truth_file_may_be_parquet_and_hold_numbers(tmp_path):
    path = tmp_path / "truth.parquet"
    table = pa.table({"key": ["a", "b"], "true_label": [1.5, None], "more": [1, 2]})
    pq.write_table(table, path)
    truth = read_truth_file(path, ())
    assert truth == {"a": 1.5}
    wrong = mark_wrong(truth, ["b", "a"], np.array([2.0, 2.0]))
    assert wrong.tolist() == [UNKNOWN, WRONG]
