"""Groups of the queue: all that pass a filter, what is left of it, pairs, and the test split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from relabel.db.groups import count_left, list_pairs, list_passing
from relabel.db.queue import QueueFilter, adjacent, draw_next_suspects, fetch_page
from relabel.db.registration import register_run
from relabel.db.runs import get_run
from relabel.db.stats import count_reviewed, measure_test, review_progress
from relabel.errors import NotFoundError
from tests.relabel.db.builders import build_homes, build_scene
from tracin_core.errors import InputError

OF_TEST = QueueFilter(split="test")


@pytest.fixture
def tested(engine):
    """A scene whose four test examples are ranked, the second first."""
    scene = build_scene(engine, num_train=6, num_test=4)
    suggested = {"train": np.array([0, 1, 0, 0, 2, 2]), "test": np.array([0, 2, 2, 1])}
    run = register_run(
        engine,
        scene.project.id,
        key="first",
        folder="runs/first",
        config={},
        checkpoints=[],
        scores={"self_influence": np.arange(6)},
        test_scores={"mean_loss": [1.0, 9.0, 3.0, 2.0]},
        predictions={
            split: (labels, np.full(len(labels), 0.75), np.full(len(labels), 0.25), labels)
            for split, labels in suggested.items()
        },
    )
    return replace(scene, run=run)


def ids(page):
    return [row.example_id for row in page.rows]


def test_all_that_pass_a_filter_come_with_what_a_decision_names(scene):
    wanted = QueueFilter(given_labels=(1,), status="pending")
    scene.decide(scene.train_ids[4])
    (found,) = list_passing(
        scene.engine, scene.run.id, signal="self_influence", filter=wanted, limit=10
    )
    assert (found.example_id, found.version, found.rank, found.score) == (
        scene.train_ids[1],
        0,
        5,
        1.0,
    )
    assert found.other_label == 0  # the network's, as nobody else was asked
    contradicted = QueueFilter(predicted_labels=(0,), disagreement_only=True, text="text")
    found = list_passing(scene.engine, scene.run.id, signal=None, filter=contradicted, limit=9)
    assert [one.example_id for one in found] == [scene.train_ids[1]]
    with pytest.raises(InputError, match="6 examples match"):
        list_passing(scene.engine, scene.run.id, signal=None, filter=QueueFilter(), limit=5)


def test_what_is_left_is_counted_whatever_the_state_that_is_shown(scene):
    scene.decide(scene.train_ids[0])
    scene.decide(scene.train_ids[1], "skip")
    for status in ("any", "pending", "reviewed"):
        shown = QueueFilter(status=status)
        assert count_left(scene.engine, scene.run.id, signal=None, filter=shown) == (5, 6)


def test_pairs_are_of_two_labels_those_with_most_left_first(tested):
    pairs = list_pairs(tested.engine, tested.run, "train", suggested=True)
    assert [(one.given, one.suggested, one.total, one.left) for one in pairs] == [
        (1, 2, 1, 1),
        (2, 0, 1, 1),
    ]
    tested.decide(tested.train_ids[4])
    (first, second) = list_pairs(tested.engine, tested.run, "train", suggested=True)
    assert (first.given, first.left, second.given, second.left) == (2, 1, 1, 0)


def test_test_examples_have_a_queue_of_their_own(tested):
    engine, run, test_ids = tested.engine, tested.run, tested.test_ids
    assert (run.test_signals, run.num_test_ranked) == (("mean_loss",), 4)
    order = [test_ids[place] for place in (1, 2, 3, 0)]
    page = fetch_page(engine, run.id, filter=OF_TEST)
    assert (ids(page), page.total) == (order, 4)
    assert [row.rank for row in page.rows] == [1, 2, 3, 4]
    assert page.rows[0].percentile == 100.0
    assert page.rows[-1].percentile == 25.0
    assert ids(fetch_page(engine, run.id)) == tested.train_ids[::-1]
    wrong = replace(OF_TEST, suggestion_differs=True)
    assert ids(fetch_page(engine, run.id, filter=wrong)) == [test_ids[1], test_ids[3]]
    assert adjacent(engine, run.id, filter=OF_TEST, example_id=test_ids[2]) == (
        test_ids[1],
        test_ids[3],
    )
    (drawn,) = draw_next_suspects(engine, run.id, filter=OF_TEST)
    assert drawn.row.example_id == test_ids[1]
    assert drawn.view.scores["mean_loss"].rank == 1
    with pytest.raises(NotFoundError, match="not ranked by 'self_influence'"):
        fetch_page(engine, run.id, signal="self_influence", filter=OF_TEST)


@pytest.mark.sqlite_only
def test_a_run_of_before_ranks_no_test_examples(scene):
    assert get_run(scene.engine, scene.run.id).test_signals == ()
    with pytest.raises(NotFoundError, match="not ranked"):
        fetch_page(scene.engine, scene.run.id, filter=OF_TEST)


def test_decisions_about_test_examples_are_counted_apart(tested):
    engine, project = tested.engine, tested.project.id
    tested.decide(tested.test_ids[1], "relabel", new_label=2)
    assert count_reviewed(engine, project) == (0, 6)
    assert count_reviewed(engine, project, "test") == (1, 4)
    assert review_progress(engine, project).reviewed == 0
    assert review_progress(engine, project, "test").by_status["relabeled"] == 1
    assert count_left(engine, tested.run.id, signal=None, filter=OF_TEST) == (3, 4)
    assert count_left(engine, tested.run.id, signal=None, filter=QueueFilter()) == (6, 6)


def test_the_accuracy_by_the_corrected_test_labels(tested):
    # Given 0, 1, 2, 0; predicted 0, 2, 2, 1.
    before = measure_test(tested.engine, tested.run.id)
    assert (before.by_given, before.by_current, before.reviewed) == (0.5, 0.5, 0)
    tested.decide(tested.test_ids[1], "relabel", new_label=2)
    tested.decide(tested.test_ids[3], "exclude")
    tested.decide(tested.test_ids[0], "keep")
    after = measure_test(tested.engine, tested.run.id)
    assert (after.by_given, after.by_current) == (0.5, 1.0)
    assert (after.reviewed, after.corrected, after.total) == (3, 2, 4)


def test_the_error_by_the_corrected_test_numbers(engine):
    scene = build_homes(engine)  # given 100, 101, 102; predicted 100
    scene.decide(scene.test_ids[2], "relabel", new_value=101.0)
    measured = measure_test(engine, scene.run.id)
    assert measured.by_given == pytest.approx((5 / 3) ** 0.5)
    assert measured.by_current == pytest.approx((2 / 3) ** 0.5)
