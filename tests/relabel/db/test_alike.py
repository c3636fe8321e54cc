"""Groups of examples that are alike: stored beside the rankings, filtered by, listed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from relabel.db.groups import list_groups, list_passing, order_groups
from relabel.db.queue import QueueFilter, adjacent, draw_next_suspects, fetch_page
from relabel.db.registration import register_run
from relabel.db.runs import read_group_counts
from relabel.runs.groups import GroupName, parse_group
from tests.relabel.db.builders import build_homes, build_scene

TRAIN = {
    "same": np.array([0, 2, 1, 1, 2, 0], dtype=np.int32),
    "near": np.array([1, 0, 0, 0, 0, 0], dtype=np.int32),
    "cluster": np.array([1, 1, 1, 1, 2, 2], dtype=np.int32),
}
TEST = {"same": np.zeros(3, np.int32), "near": np.array([0, 0, 1]), "cluster": np.array([2, 1, 1])}


def register(scene, **predictions):
    run = register_run(
        scene.engine,
        scene.project.id,
        key="first",
        folder="runs/first",
        config={},
        checkpoints=[],
        scores={"self_influence": np.arange(6)},
        test_scores={"mean_loss": [1.0, 9.0, 3.0]},
        predictions=predictions,
        groups={kind: {"train": TRAIN[kind], "test": TEST[kind]} for kind in TRAIN},
    )
    return replace(scene, run=run)


@pytest.fixture
def alike(engine):
    """Train labels 0 1 2 0 1 2, test labels 0 1 2; the last train position is the most suspect."""
    suggested = np.array([0, 0, 2, 2, 1, 2])
    said = (suggested, np.full(6, 0.75), np.full(6, 0.25), suggested)
    return register(build_scene(engine, 6, 3), train=said)


def positions(scene, name, **more):
    page = fetch_page(scene.engine, scene.run.id, filter=QueueFilter(group=name, **more))
    assert page.total == len(page.rows)
    return [row.position for row in page.rows]


@pytest.mark.parametrize("kind", TRAIN)
def test_a_group_is_a_filter_of_the_queue_in_its_order(alike, kind):
    for number in (1, 2, 3):
        wanted = np.flatnonzero(TRAIN[kind] == number)[::-1].tolist()
        assert positions(alike, GroupName(kind, number)) == wanted
        in_test = np.flatnonzero(TEST[kind] == number)
        found = positions(alike, GroupName(kind, number), split="test")
        assert sorted(found) == in_test.tolist()


def test_a_group_joins_other_filters_and_what_follows_the_filter_follows_it(alike):
    name = GroupName("cluster", 1)
    assert positions(alike, name, given_labels=(0,)) == [3, 0]
    alike.decide(alike.train_ids[3])
    assert positions(alike, name, status="pending") == [2, 1, 0]
    drawn = draw_next_suspects(alike.engine, alike.run.id, filter=QueueFilter(group=name), count=9)
    assert [one.row.position for one in drawn] == [2, 1, 0]
    in_group = {"filter": QueueFilter(group=name), "signal": None}
    around = adjacent(alike.engine, alike.run.id, example_id=alike.train_ids[2], **in_group)
    assert around == (alike.train_ids[3], alike.train_ids[1])
    passing = list_passing(alike.engine, alike.run.id, limit=9, **in_group)
    assert [one.example_id for one in passing] == [alike.train_ids[n] for n in (3, 2, 1, 0)]


def test_groups_are_told_with_their_labels_and_what_is_left(alike):
    groups = list_groups(alike.engine, alike.run, "train", "same")
    assert [(str(one.name), one.total, one.labels, one.doubted) for one in groups] == [
        ("same-1", 2, ((0, 1), (2, 1)), 1),
        ("same-2", 2, ((1, 2),), 1),
    ]
    assert [one.differs for one in groups] == [True, False]
    for place in (2, 3):
        alike.decide(alike.train_ids[place])
    ordered = order_groups(alike.engine, alike.run, "train", "same", groups)
    assert [(str(one.name), one.left) for one in ordered] == [("same-2", 2), ("same-1", 0)]


def test_a_group_across_the_splits_is_told_in_both(alike):
    (near,) = list_groups(alike.engine, alike.run, "train", "near")
    assert (near.total, near.others, near.labels) == (1, 1, ((0, 1), (2, 1)))
    (near,) = list_groups(alike.engine, alike.run, "test", "near")
    assert (near.total, near.others, near.differs) == (1, 1, True)


def test_clusters_with_most_suspects_come_first(alike):
    groups = list_groups(alike.engine, alike.run, "train", "cluster")
    ordered = order_groups(alike.engine, alike.run, "train", "cluster", groups)
    assert [(str(one.name), one.doubted) for one in ordered] == [("cluster-1", 2), ("cluster-2", 0)]


def test_numbers_differ_by_their_span(engine):
    homes = register(build_homes(engine), train=(np.arange(6.0),))
    groups = list_groups(homes.engine, homes.run, "train", "same")
    assert [(one.least, one.greatest, one.labels) for one in groups] == [
        (102.0, 103.0, ()),
        (101.0, 104.0, ()),
    ]
    assert all(one.differs for one in groups)


def test_a_run_says_how_many_groups_it_has_and_an_older_one_none(alike, scene):
    counts = read_group_counts(alike.run.config)
    assert (counts["same"].groups, counts["same"].examples) == (2, {"train": 4, "test": 0})
    assert read_group_counts(scene.run.config) == {}
    assert read_group_counts({"groups": {"same": {"groups": -1}}}) == {}
    assert positions(scene, GroupName("same", 1)) == []


@pytest.mark.parametrize("word", ["", "near", "near-0", "near-x", "far-1", "near-1-2", "near- 1"])
def test_other_words_name_no_group(word):
    assert parse_group(word) is None


def test_a_group_is_read_as_it_is_written():
    assert parse_group(str(GroupName("near", 12))) == GroupName("near", 12)
