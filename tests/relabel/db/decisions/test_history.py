"""Events on a page, and counts for the overview."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import undo_decision
from relabel.db.stats import class_balance, count_reviewed, label_confusion, review_progress
from relabel.errors import NotFoundError
from tests.relabel.db.builders import build_scene
from tracin_core.errors import InputError


def ids(scene, **choice):
    page = fetch_history(scene.engine, scene.project.id, **choice)
    assert page.total == len(page.rows)
    return [row.id for row in page.rows]


@pytest.mark.sqlite_only
def test_an_event_comes_with_its_example(scene):
    made = scene.decide(scene.train_ids[1], "relabel", new_label=2, note="why", seconds_spent=2.0)
    (row,) = fetch_history(scene.engine, scene.project.id).rows
    assert {name: getattr(row, name) for name in made.__dataclass_fields__} == vars(made)
    assert (row.key, row.split, row.position, row.text) == (
        "train-1",
        "train",
        1,
        "text 1 of train",
    )
    assert (row.current_label, row.status) == (2, "relabeled")
    assert (row.undone, row.undone_by, row.undoable) == (False, None, True)


def test_events_are_newest_first_and_say_what_can_be_undone(scene):
    first = scene.decide(scene.train_ids[0])
    second = scene.decide(scene.train_ids[0], "exclude")
    undo = undo_decision(scene.engine, second.id, reviewer="bob")
    rows = fetch_history(scene.engine, scene.project.id).rows
    assert [row.id for row in rows] == [undo.id, second.id, first.id]
    assert [row.undone_by for row in rows] == [None, undo.id, None]
    assert [row.undone for row in rows] == [False, True, False]
    assert [row.undoable for row in rows] == [False, False, True]
    assert {row.status for row in rows} == {"kept"}


def test_history_is_filtered_and_paged(scene):
    a = scene.decide(scene.train_ids[0], "keep", note="50% sure").id
    b = scene.decide(scene.train_ids[1], "skip", reviewer="bob").id
    c = scene.decide(scene.train_ids[2], "exclude", note="500 sure").id
    build_scene(scene.engine)  # another project
    assert ids(scene) == [c, b, a]
    assert ids(scene, reviewer="bob") == [b]
    assert ids(scene, reviewer="nobody") == []
    assert ids(scene, actions=("keep", "skip")) == [b, a]
    assert ids(scene, text="50%") == [a]
    assert ids(scene, text="TEXT 1") == [b]
    assert ids(scene, text="train-2") == [c]
    assert ids(scene, text="'; DELETE FROM decision --") == []
    pages = [fetch_history(scene.engine, scene.project.id, page=n, page_size=2) for n in (1, 2, 3)]
    assert [[row.id for row in page.rows] for page in pages] == [[c, b], [a], []]
    assert {page.total for page in pages} == {3}
    with pytest.raises(InputError):
        fetch_history(scene.engine, scene.project.id, page=0)


def test_progress_counts_the_train_split_by_state(scene):
    scene.decide(scene.train_ids[0], "keep", seconds_spent=1.0)
    scene.decide(scene.train_ids[1], "skip", seconds_spent=2.0, reviewer="bob")
    taken_back = scene.decide(scene.train_ids[2], "exclude", seconds_spent=9.0)
    undo_decision(scene.engine, taken_back.id, reviewer="cleo")
    scene.decide(scene.test_ids[0], "exclude")
    progress = review_progress(scene.engine, scene.project.id)
    assert progress.by_status == {
        "pending": 4,
        "kept": 1,
        "relabeled": 0,
        "excluded": 0,
        "ambiguous": 0,
        "skipped": 1,
    }
    assert (progress.total, progress.decisions, progress.reviewed) == (6, 4, 1)
    assert list(progress.reviewers.items()) == [("ann", 3), ("bob", 1)]
    assert progress.seconds_median == 2.0
    assert count_reviewed(scene.engine, scene.project.id) == (1, 6)


def test_progress_of_an_untouched_or_unknown_project_is_nothing(scene):
    progress = review_progress(scene.engine, scene.project.id)
    assert (progress.decisions, progress.reviewers, progress.seconds_median) == (0, {}, None)
    assert review_progress(scene.engine, 999).total == 0
    assert count_reviewed(scene.engine, 999) == (0, 0)


def test_class_balance_moves_with_the_decisions(scene):
    scene.decide(scene.train_ids[0], "relabel", new_label=1)
    scene.decide(scene.train_ids[3], "relabel", new_label=1)
    scene.decide(scene.train_ids[5], "exclude")
    scene.decide(scene.train_ids[4], "keep")
    rows = class_balance(scene.engine, scene.project.id)
    assert [(row.split, row.name, row.given, row.current) for row in rows] == [
        ("train", "cat", 2, 0),
        ("train", "dog", 2, 4),
        ("train", "emu", 2, 1),
        ("test", "cat", 1, 1),
        ("test", "dog", 1, 1),
        ("test", "emu", 1, 1),
    ]


def test_class_balance_keeps_empty_classes_and_leaves_out_empty_splits(engine):
    scene = build_scene(engine, 1, 0)
    rows = class_balance(engine, scene.project.id)
    assert [(row.split, row.given) for row in rows] == [("train", 1), ("train", 0), ("train", 0)]
    with pytest.raises(NotFoundError):
        class_balance(engine, 999)


def test_confusion_counts_given_by_predicted(scene):
    confusion = label_confusion(scene.engine, scene.run.id, "train")
    # Given by position: 0 1 2 0 1 2; predicted: 0 0 1 1 2 2.
    np.testing.assert_array_equal(confusion, [[1, 1, 0], [1, 0, 1], [0, 1, 1]])
    assert label_confusion(scene.engine, scene.run.id, "test").sum() == 3
    with pytest.raises(NotFoundError):
        label_confusion(scene.engine, 999, "train")
