"""The queue: order, pages, filters, the next suspect, neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relabel.db.decisions.recording import undo_decision
from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project
from relabel.db.queue import QueueFilter, adjacent, fetch_page, next_suspect
from relabel.db.registration import register_run
from relabel.db.stats import label_confusion
from relabel.errors import NotFoundError
from relabel.triage.signals import list_signals
from tests.relabel.db.builders import build_homes, build_scene, score
from tracin_core.errors import InputError


def positions(scene, **choice):
    page = fetch_page(scene.engine, scene.run.id, filter=QueueFilter(**choice))
    assert page.total == len(page.rows)
    return [row.position for row in page.rows]


def test_a_row_tells_everything(scene):
    row = fetch_page(scene.engine, scene.run.id, page_size=1).rows[0]
    assert (row.example_id, row.position, row.key) == (scene.train_ids[5], 5, "train-5")
    assert (row.rank, row.percentile, row.score) == (1, 100.0, 5.0)
    assert (row.given_label, row.predicted_label, row.current_label) == (2, 2, 2)
    assert (row.predicted_probability, row.given_probability) == (0.75, 0.25)
    assert (row.status, row.version, row.text, row.media_path) == (
        "pending",
        0,
        "text 5 of train",
        None,
    )


def test_each_signal_has_its_own_order(scene):
    for signal, expected in (
        ("self_influence", [5, 4, 3, 2, 1, 0]),
        ("mean_loss", [0, 1, 2, 3, 4, 5]),
    ):
        page = fetch_page(scene.engine, scene.run.id, signal=signal)
        assert [row.position for row in page.rows] == expected
    assert set(scene.run.signals) < set(list_signals())


@pytest.mark.parametrize("choice", [QueueFilter(), QueueFilter(disagreement_only=True)])
def test_pages_follow_each_other_without_gap_or_repeat(engine, choice):
    scene = build_scene(engine, 23)
    whole = fetch_page(engine, scene.run.id, filter=choice, page_size=100)
    parts = [
        fetch_page(engine, scene.run.id, filter=choice, page=n, page_size=4) for n in range(1, 8)
    ]
    assert [row for part in parts for row in part.rows] == whole.rows
    assert {part.total for part in parts} == {len(whole.rows)}


def test_a_rare_filter_and_a_frequent_one_give_the_same_pages(engine, monkeypatch):
    scene = build_scene(engine, 60)
    choice = QueueFilter(given_labels=(1,), disagreement_only=True)

    def pages():
        return [
            fetch_page(engine, scene.run.id, filter=choice, page=n, page_size=4).rows
            for n in range(1, 6)
        ]

    by_example = pages()
    monkeypatch.setattr("relabel.db.queue.RARE", 0)
    assert by_example == pages()
    assert len(by_example[0]) == 4


def test_past_the_end_there_are_no_rows_but_the_total(scene):
    for page in (2, 10**30):
        found = fetch_page(scene.engine, scene.run.id, page=page)
        assert (found.rows, found.total) == ([], 6)


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    "wrong", [{"page": 0}, {"page": -1}, {"page_size": 0}, {"page_size": 10**6}]
)
def test_an_impossible_page_is_told(scene, wrong):
    with pytest.raises(InputError, match="Expected a page from 1"):
        fetch_page(scene.engine, scene.run.id, **wrong)


@pytest.mark.sqlite_only
def test_an_unknown_run_or_signal_is_told(scene):
    with pytest.raises(NotFoundError, match="run with id 99"):
        fetch_page(scene.engine, 99)
    with pytest.raises(NotFoundError, match=r"'x'.*one of: self_influence, mean_loss"):
        next_suspect(scene.engine, scene.run.id, signal="x")


def test_filters_hold_together(scene):
    # Given labels by position: 0 1 2 0 1 2; predicted: 0 0 1 1 2 2.
    assert positions(scene, given_labels=(0, 2)) == [5, 3, 2, 0]
    assert positions(scene, predicted_labels=(2,)) == [5, 4]
    assert positions(scene, disagreement_only=True) == [4, 3, 2, 1]
    assert positions(scene, disagreement_only=True, given_labels=(1,), predicted_labels=(2,)) == [4]
    assert positions(scene, given_labels=(7,)) == []
    assert positions(scene, given_labels=(10**30, 0), predicted_labels=(-1, 1)) == [3]


def test_what_is_suggested_is_told_apart_from_what_the_network_says(scene):
    numbers = np.arange(6)
    run = register_run(
        scene.engine,
        scene.project.id,
        key="suggesting",
        folder="runs/suggesting",
        config={},
        checkpoints=[],
        scores={"self_influence": numbers},
        predictions={"train": (numbers // 2 % 3, numbers / 9, numbers / 9, (numbers + 1) // 2 % 3)},
    )
    # Given labels by position: 0 1 2 0 1 2; predicted: 0 0 1 1 2 2; suggested: 0 1 1 2 2 0.
    suggesting = replace(scene, run=run)
    assert positions(suggesting, suggestion_differs=True) == [5, 4, 3, 2]
    assert positions(suggesting, suggested_labels=(1,)) == [2, 1]
    assert positions(suggesting, suggested_labels=(2,), predicted_labels=(1,)) == [3]
    assert positions(suggesting, suggestion_differs=True, disagreement_only=True) == [4, 3, 2]
    assert positions(scene, suggestion_differs=True) == []  # of a run that suggests nothing
    counts = label_confusion(scene.engine, run.id, "train", suggested=True)
    np.testing.assert_array_equal(counts, [[1, 0, 1], [0, 1, 1], [1, 1, 0]])
    assert not label_confusion(scene.engine, scene.run.id, "train", suggested=True).any()


def test_the_state_filter_counts_a_skipped_example_as_not_decided(scene):
    scene.decide(scene.train_ids[5], "skip")
    scene.decide(scene.train_ids[4], "keep")
    scene.decide(scene.train_ids[0], "relabel", new_label=1)
    undone = scene.decide(scene.train_ids[2], "exclude")
    undo_decision(scene.engine, undone.id, reviewer="ann")
    scene.decide(scene.test_ids[0], "exclude")  # not in the queue
    assert positions(scene, status="reviewed") == [4, 0]
    assert positions(scene, status="pending") == [5, 3, 2, 1]
    assert positions(scene, status="pending", disagreement_only=True) == [3, 2, 1]
    assert positions(scene, status="reviewed", disagreement_only=True) == [4]


TEXTS = [
    "100% wool",
    "100 wool",
    "under_score",
    "underXscore",
    "back\\slash",
    "Robert'); DROP TABLE decision;--",
    "MiXed",
    "",
]


@pytest.fixture
def texts(engine):
    project = create_project(engine, slug="texts", title="T", kind="text", classes=["a", "b"])
    rows = [NewExample(f"key{n}", "train", n, 0, text=text) for n, text in enumerate(TEXTS)]
    add_examples(engine, project.id, rows)
    return register_run(
        engine,
        project.id,
        key="r",
        folder="runs/r",
        config={},
        checkpoints=[],
        scores={"self_influence": [float(-n) for n in range(len(TEXTS))]},
        predictions={},
    )


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("%", [0]),
        ("0%", [0]),
        ("_", [2]),
        ("r_s", [2]),
        ("\\", [4]),
        ("'); DROP TABLE decision;--", [5]),
        ("mIxED", [6]),
        ("key3", [3]),
        ("%' OR 1=1 --", []),
        ("nul\x00", []),
        ("half \ud800", []),
    ],
)
def test_a_text_is_searched_as_it_stands(engine, texts, wanted, found):
    page = fetch_page(engine, texts.id, filter=QueueFilter(text=wanted))
    assert [row.position for row in page.rows] == found
    assert page.total == len(found)
    assert fetch_page(engine, texts.id).total == len(TEXTS)  # the tables are still there


def test_a_picture_is_found_by_its_path_and_a_row_not_by_the_name_of_its_table(engine):
    pictures, homes = build_scene(engine, kind="image"), build_homes(engine)
    found = fetch_page(engine, pictures.run.id, filter=QueueFilter(text="train/im 3.jpg"))
    assert [(row.position, row.source_place) for row in found.rows] == [(3, "train/im 3.JPG")]
    assert fetch_page(engine, homes.run.id, filter=QueueFilter(text="homes.csv")).total == 0


def test_totals_follow_a_run_that_is_registered_anew(engine):
    scene = build_scene(engine)
    choice = QueueFilter(predicted_labels=(2,))
    assert fetch_page(engine, scene.run.id, filter=choice).total == 2
    values = {"key": "first", "folder": "runs/first", "config": {}, "checkpoints": []}
    again = register_run(
        engine,
        scene.project.id,
        scores={"self_influence": range(6)},
        predictions={"train": ([2] * 6, [1.0] * 6, [0.0] * 6)},
        **values,
    )
    assert again.id == scene.run.id
    assert fetch_page(engine, again.id, filter=choice).total == 6


def test_the_next_suspect_is_the_first_pending_then_the_longest_skipped(scene):
    def following(**choice):
        row = next_suspect(scene.engine, scene.run.id, **choice)
        return None if row is None else row.position

    assert following() == 5
    scene.decide(scene.train_ids[4], "keep")
    scene.decide(scene.train_ids[5], "skip")
    assert following() == 3
    assert following(after_rank=3) == 2
    assert following(after_rank=6) == 3  # round again
    assert following(filter=QueueFilter(given_labels=(2,))) == 2
    assert following(filter=QueueFilter(status="reviewed")) is None
    for position in (1, 3, 0, 2):
        scene.decide(scene.train_ids[position], "skip")
    assert following() == 5
    scene.decide(scene.train_ids[5], "skip")  # once more: to the end of the skipped ones
    assert following() == 1
    for position in (1, 3, 0, 2, 5):
        scene.decide(scene.train_ids[position], "ambiguous")
    assert following() is None


def test_decisions_count_in_every_run_of_the_project(scene):
    scene.decide(scene.by_rank(1))
    second = score(scene.engine, scene.project, 6, 3, key="second")
    assert next_suspect(scene.engine, second.id).example_id == scene.by_rank(2)


def test_neighbours_are_those_of_the_filtered_queue(scene):
    ids = scene.train_ids

    def around(position, **choice):
        return adjacent(
            scene.engine, scene.run.id, filter=QueueFilter(**choice), example_id=ids[position]
        )

    assert around(5) == (None, ids[4])
    assert around(3) == (ids[4], ids[2])
    assert around(0) == (ids[1], None)
    assert around(3, given_labels=(2,)) == (ids[5], ids[2])  # itself not in the filter
    assert adjacent(scene.engine, scene.run.id, signal="mean_loss", example_id=ids[3]) == (
        ids[2],
        ids[4],
    )


def test_neighbours_of_a_test_example_are_those_by_position(scene):
    found = adjacent(scene.engine, scene.run.id, example_id=scene.test_ids[1])
    assert found == (scene.test_ids[0], scene.test_ids[2])
    with pytest.raises(NotFoundError):
        adjacent(scene.engine, scene.run.id, example_id=999)


filters = st.builds(
    QueueFilter,
    given_labels=st.lists(st.integers(0, 2), max_size=2, unique=True).map(tuple),
    predicted_labels=st.lists(st.integers(0, 2), max_size=2, unique=True).map(tuple),
    status=st.sampled_from(["any", "pending", "reviewed"]),
    disagreement_only=st.booleans(),
    text=st.sampled_from(["", "1", "%", "TEXT", "in-2"]),
)


@given(choice=filters, decided=st.sets(st.integers(0, 11)), skipped=st.sets(st.integers(0, 11)))
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_filtered_queue_is_the_whole_one_without_the_rest(engine, choice, decided, skipped):
    scene = build_scene(engine, 12)
    for position in decided:
        scene.decide(scene.train_ids[position], "keep")
    for position in skipped - decided:
        scene.decide(scene.train_ids[position], "skip")

    def passes(row):
        return (
            (not choice.given_labels or row.given_label in choice.given_labels)
            and (not choice.predicted_labels or row.predicted_label in choice.predicted_labels)
            and (not choice.disagreement_only or row.given_label != row.predicted_label)
            and (choice.text.lower() in row.text.lower() or choice.text.lower() in row.key.lower())
            and (choice.status == "any" or (choice.status == "reviewed") == (row.status == "kept"))
        )

    whole = fetch_page(engine, scene.run.id).rows
    found = fetch_page(engine, scene.run.id, filter=choice)
    assert found.rows == [row for row in whole if passes(row)]
    assert found.total == len(found.rows)


@pytest.mark.sqlite_only
def test_without_a_signal_the_first_of_the_run_ranks(scene):
    first = fetch_page(scene.engine, scene.run.id, signal=scene.run.signals[0])
    assert fetch_page(scene.engine, scene.run.id) == first
    unranked = register_run(
        scene.engine,
        scene.project.id,
        key="unranked",
        folder="runs/unranked",
        config={},
        checkpoints=[],
        scores={},
        predictions={},
    )
    with pytest.raises(NotFoundError, match="score the project first"):
        fetch_page(scene.engine, unranked.id)
