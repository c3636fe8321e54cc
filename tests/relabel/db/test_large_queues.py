"""What keeps a queue of a million fast: counts that are kept, ranks that are kept, indexes used.

Each shortcut is held against the long way round, with few examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, text

from relabel.db import filtering
from relabel.db.engine import reading
from relabel.db.examples import NewExample, add_examples, find_by_positions
from relabel.db.label_counts import read_label_pairs
from relabel.db.projects import create_project, delete_hidden_project, hide_project
from relabel.db.queue import QueueFilter, fetch_page, next_suspect, open_ranking
from relabel.db.registration import register_run
from relabel.db.stats import class_balance, label_confusion, measure_test
from tests.relabel.db.builders import CLASSES, Scene

COUNT = 60


def build_labelled(engine: Engine, slug: str = "labelled") -> Scene:
    """Make a project whose given, predicted and suggested labels differ in all ways."""
    project = create_project(engine, slug=slug, title="L", kind="text", classes=CLASSES)
    splits = {"train": COUNT, "test": 9}
    add_examples(
        engine,
        project.id,
        [
            NewExample(f"{split}-{n}", split, n, n % 3, text=f"text {n} of {split}")
            for split, size in splits.items()
            for n in range(size)
        ],
    )
    run = register_run(
        engine,
        project.id,
        key="first",
        folder="runs/first",
        config={},
        checkpoints=[],
        scores={"self_influence": np.arange(COUNT)},
        predictions={
            split: (
                np.arange(size) // 2 % 3,
                np.full(size, 0.75),
                np.full(size, 0.25),
                np.arange(size) // 5 % 3,
            )
            for split, size in splits.items()
        },
    )
    ids = [one.id for one in find_by_positions(engine, project.id, None, "train", range(COUNT))]
    return Scene(engine, project, run, ids, [])


@pytest.fixture
def labelled(engine: Engine) -> Scene:
    return build_labelled(engine)


@contextmanager
def recorded_statements(engine: Engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def look(connection, cursor, statement, parameters, context, executemany) -> None:
        seen.append(" ".join(statement.split()))

    event.listen(engine, "before_cursor_execute", look)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", look)


def passes(position: int, choice: QueueFilter, decided: set[int]) -> bool:
    """Say of a train example whether a filter lets it through, by what it was made of."""
    labels = position % 3, position // 2 % 3, position // 5 % 3
    wanted = choice.given_labels, choice.predicted_labels, choice.suggested_labels
    return (
        all(not some or label in some for label, some in zip(labels, wanted, strict=True))
        and (not choice.disagreement_only or labels[0] != labels[1])
        and (not choice.suggestion_differs or labels[0] != labels[2])
        and choice.text in f"text {position} of train"
        and {"any": True, "reviewed": position in decided, "pending": position not in decided}[
            choice.status
        ]
    )


LABELS = st.lists(st.integers(0, 2), max_size=2, unique=True).map(tuple)
FILTERS = st.builds(
    QueueFilter,
    given_labels=LABELS,
    predicted_labels=LABELS,
    suggested_labels=LABELS,
    disagreement_only=st.booleans(),
    suggestion_differs=st.booleans(),
    text=st.sampled_from(["", "5", "of train", "nowhere"]),
    status=st.sampled_from(["any", "pending", "reviewed"]),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    choice=FILTERS,
    page=st.integers(1, 5),
    rare=st.sampled_from([0, 8, 2000]),
    deep=st.sampled_from([0, 5000]),
)
def test_each_way_to_a_page_finds_what_passes(labelled, monkeypatch, choice, page, rare, deep):
    """Whatever is kept, and whichever way is taken, pages and totals are the same."""
    for module in ("filtering", "queue"):
        monkeypatch.setattr(f"relabel.db.{module}.RARE", rare)
    monkeypatch.setattr("relabel.db.queue.DEEP", deep)
    decided = {3, 4, 58}
    if not decided_already(labelled):
        for position in decided:
            labelled.decide(labelled.train_ids[position], "keep")
    expected = [n for n in reversed(range(COUNT)) if passes(n, choice, decided)]
    if rare != 8:  # else with what was kept before
        filtering._totals.clear()
        filtering._ranks.clear()
    for _ in range(2):  # the second time with what was kept by the first
        found = fetch_page(labelled.engine, labelled.run.id, filter=choice, page=page, page_size=7)
        assert found.total == len(expected)
        assert [row.position for row in found.rows] == expected[7 * page - 7 : 7 * page]
    waiting = [n for n in expected if n not in decided]
    following = next_suspect(labelled.engine, labelled.run.id, filter=choice)
    is_none = choice.status == "reviewed" or not waiting
    assert (following is None) == is_none
    assert following is None or following.position == waiting[0]


def decided_already(scene: Scene) -> bool:
    with reading(scene.engine) as connection:
        return bool(connection.scalar(text("SELECT count(*) FROM decision")))


@pytest.mark.parametrize("suggested", [False, True])
@pytest.mark.parametrize("split", ["train", "test"])
def test_counts_that_are_kept_are_those_of_the_examples(labelled, split, suggested):
    engine, run = labelled.engine, labelled.run
    kept = label_confusion(engine, run.id, split, suggested=suggested)
    with reading(engine) as connection:
        assert read_label_pairs(connection, run.scoring_id, split, suggested=suggested)
    fit = measure_test(engine, run.id)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM label_count"))
    counted = label_confusion(engine, run.id, split, suggested=suggested)
    assert kept.tolist() == counted.tolist()
    assert kept.sum() == (COUNT if split == "train" else 9)
    assert measure_test(engine, run.id) == fit


def test_counts_go_with_their_scoring(labelled):
    hide_project(labelled.engine, labelled.project.id)
    delete_hidden_project(labelled.engine, labelled.project.id)
    with reading(labelled.engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM label_count")) == 0


def test_a_filter_of_labels_is_counted_without_its_examples(labelled):
    filtering._totals.clear()
    with recorded_statements(labelled.engine) as seen, reading(labelled.engine) as connection:
        run, signal = open_ranking(connection, labelled.run.id, "self_influence")
        choice = QueueFilter(given_labels=(1,), suggestion_differs=True)
        assert filtering.count_passing(connection, run, signal, choice) > 0
    assert not [one for one in seen if "FROM score" in one or "FROM example" in one]


def test_a_text_is_searched_through_once(labelled):
    filtering._totals.clear()
    filtering._ranks.clear()
    choice = QueueFilter(text="text 7 of", status="pending")
    assert fetch_page(labelled.engine, labelled.run.id, filter=choice).total == 1
    with recorded_statements(labelled.engine) as seen:
        assert fetch_page(labelled.engine, labelled.run.id, filter=choice).total == 1
    assert not [one for one in seen if "LIKE" in one.upper()]


@pytest.mark.sqlite_only
def test_indexes_answer_by_themselves(labelled):
    """SQLite says what it does: no table of examples is read for counts or for a class."""
    with reading(labelled.engine) as connection:
        run, signal = open_ranking(connection, labelled.run.id, "self_influence")
        choice = QueueFilter(given_labels=(1,), suggested_labels=(2,))
        query = filtering._select_ids(connection, run, signal, choice)
        plan = explain(connection, query)
    assert any("COVERING INDEX example_by_label" in one for one in plan), plan
    assert not any(one.startswith("SCAN") for one in plan), plan
    with recorded_statements(labelled.engine) as seen:
        class_balance(labelled.engine, labelled.project.id)
    (counting,) = {
        one for one in seen if "GROUP BY example.given_label" in one and "JOIN" not in one
    }
    with reading(labelled.engine) as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {counting}", (1, "train")).all()
    assert [row[3] for row in rows] == [
        "SEARCH example USING COVERING INDEX example_by_label (project_id=? AND split=?)"
    ]


def explain(connection, query) -> list[str]:
    compiled = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
