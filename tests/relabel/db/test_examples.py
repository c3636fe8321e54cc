"""One example with everything known about it."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.db.examples import find_by_positions, get_example, media_location, percentile_of
from relabel.db.projects import hide_project
from relabel.db.queue import adjacent
from relabel.errors import NotFoundError
from tests.relabel.db.builders import build_scene


def test_an_example_comes_with_state_prediction_and_ranks(scene):
    view = get_example(scene.engine, scene.train_ids[4], scene.run.id)
    assert (view.key, view.split, view.position, view.text) == (
        "train-4",
        "train",
        4,
        "text 4 of train",
    )
    assert (view.given_label, view.current_label, view.status) == (1, 1, "pending")
    assert (view.version, view.last_decision_id) == (0, None)
    assert (view.predicted_label, view.predicted_probability, view.given_probability) == (
        2,
        0.75,
        0.25,
    )
    assert set(view.scores) == {"self_influence", "mean_loss"}
    assert (view.scores["self_influence"].rank, view.scores["mean_loss"].rank) == (2, 5)
    assert view.scores["self_influence"].value == 4.0


@pytest.mark.sqlite_only
def test_an_example_shows_what_was_decided(scene):
    decision = scene.decide(scene.train_ids[4], "relabel", new_label=0)
    view = get_example(scene.engine, scene.train_ids[4], None)
    assert (view.given_label, view.current_label, view.status) == (1, 0, "relabeled")
    assert (view.version, view.last_decision_id) == (1, decision.id)


@pytest.mark.sqlite_only
def test_without_a_run_there_are_no_numbers_and_a_test_example_has_no_rank(scene):
    view = get_example(scene.engine, scene.train_ids[0], None)
    assert (view.scores, view.predicted_label, view.given_probability) == ({}, None, None)
    view = get_example(scene.engine, scene.test_ids[2], scene.run.id)
    assert (view.scores, view.predicted_label) == ({}, 1)


@pytest.mark.parametrize("example_id", [0, -1, 999, 2**63, 10**30])
def test_an_unknown_example_is_told(scene, example_id):
    with pytest.raises(NotFoundError, match=f"id {example_id}"):
        get_example(scene.engine, example_id, scene.run.id)


def test_examples_are_found_by_position_in_the_order_asked(scene):
    views = find_by_positions(
        scene.engine, scene.project.id, scene.run.id, "train", [5, 0, 5, 3], with_scores=True
    )
    assert [view.position for view in views] == [5, 0, 5, 3]
    assert [view.scores["mean_loss"].rank for view in views] == [6, 1, 6, 4]
    assert find_by_positions(scene.engine, scene.project.id, None, "test", []) == []


def test_ids_may_come_from_a_data_frame(scene):
    example_id = np.int64(scene.train_ids[0])
    assert get_example(scene.engine, example_id, scene.run.id).scores["mean_loss"].rank == 1
    assert media_location(scene.engine, example_id) is None
    assert adjacent(scene.engine, scene.run.id, example_id=example_id)[1] is None


def test_many_positions_are_found(engine):
    scene = build_scene(engine, 1203)
    views = find_by_positions(engine, scene.project.id, scene.run.id, "train", range(1202, -1, -1))
    assert [view.position for view in views] == list(range(1202, -1, -1))


@pytest.mark.sqlite_only
def test_a_position_of_another_split_or_project_is_missing(scene):
    with pytest.raises(NotFoundError, match="position 4 of the test split"):
        find_by_positions(scene.engine, scene.project.id, scene.run.id, "test", [0, 4])
    with pytest.raises(NotFoundError):
        find_by_positions(scene.engine, scene.project.id, None, "train", [10**30])
    with pytest.raises(NotFoundError):
        find_by_positions(scene.engine, scene.project.id + 1, None, "train", [0])


def test_media_are_looked_up_by_id(engine):
    images, texts = build_scene(engine, kind="image"), build_scene(engine)
    assert media_location(engine, images.train_ids[1]) == (images.project.slug, "train/1.png")
    assert media_location(engine, texts.train_ids[1]) is None
    for unknown in (0, -5, 10**30):
        assert media_location(engine, unknown) is None
    # A new project of the same name has another project's folder.
    hide_project(engine, images.project.id)
    assert media_location(engine, images.train_ids[1]) is None


def test_percentiles_go_from_one_hundred_down():
    assert [percentile_of(rank, 4) for rank in (1, 2, 3, 4)] == [100, 75, 50, 25]
    assert percentile_of(1, 1) == 100
