"""Numbers in place of labels: decided, corrected, undone, told, filtered, summarised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import NewDecision, get_decision, record_decision, undo_decision
from relabel.db.engine import reading, writing
from relabel.db.examples import (
    NewExample,
    add_examples,
    fetch_test_page,
    find_by_positions,
    get_example,
)
from relabel.db.projects import create_project
from relabel.db.queue import QueueFilter, fetch_page, next_suspect
from relabel.db.registration import register_run
from relabel.db.stats import class_balance, label_confusion, review_progress, value_summary
from relabel.errors import InvalidDecisionError, NotFoundError, StaleDecisionError
from tests.relabel.db.builders import build_homes, build_scene
from tracin_core.errors import InputError

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture
def homes(engine):
    return build_homes(engine)


def test_a_row_a_value_and_a_prediction_are_shown_everywhere(homes):
    one = homes.by_rank(1)
    view = get_example(homes.engine, one, homes.run.id)
    assert (view.given_value, view.current_value, view.predicted_value) == (105.0, 105.0, 100.0)
    assert (view.predicted_label, view.predicted_probability, view.given_probability) == (None,) * 3
    assert dict(view.fields) == {"rooms": 5, "street": "5é Rue <b>", "north": None}
    assert list(view.fields) == ["rooms", "street", "north"]
    row = fetch_page(homes.engine, homes.run.id).rows[0]
    assert (row.given_value, row.current_value, row.predicted_value) == (105.0, 105.0, 100.0)
    assert row.fields == view.fields
    found = find_by_positions(homes.engine, homes.project.id, homes.run.id, "train", [5])
    assert found[0].given_value == 105.0


def test_a_correction_is_kept_and_undone_like_any_decision(homes):
    one = homes.by_rank(1)
    made = homes.decide(one, "relabel", new_value=5.25, note="a digit too many")
    assert (made.given_value, made.new_value, made.new_label) == (105.0, 5.25, None)
    assert get_decision(homes.engine, made.id) == made
    view = get_example(homes.engine, one, homes.run.id)
    assert (view.status, view.given_value, view.current_value) == ("relabeled", 105.0, 5.25)
    again = homes.decide(one, "relabel", new_value=np.float32(7.5))
    assert get_example(homes.engine, one, None).current_value == again.new_value == 7.5
    undone = undo_decision(homes.engine, again.id, reviewer="ann")
    assert (undone.given_value, undone.new_value) == (105.0, None)
    assert get_example(homes.engine, one, None).current_value == 5.25
    undo_decision(homes.engine, made.id, reviewer="ann")
    view = get_example(homes.engine, one, None)
    assert (view.status, view.current_value, view.version) == ("pending", 105.0, 4)


@pytest.mark.sqlite_only
@pytest.mark.parametrize("action", ["keep", "exclude", "ambiguous", "skip"])
def test_the_other_actions_leave_the_value(homes, action):
    made = homes.decide(homes.by_rank(1), action)
    assert (made.given_value, made.new_value) == (105.0, None)
    assert get_example(homes.engine, homes.by_rank(1), None).current_value == 105.0


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"new_value": None}, "Enter a number"),
        ({"new_value": math.nan}, "finite"),
        ({"new_value": math.inf}, "finite"),
        ({"new_value": 105.0}, "105 is the given value"),
        ({"new_value": 105}, "105 is the given value"),
        ({"new_label": 0}, "new label.*regression"),
        ({"new_label": 0, "new_value": 1.0}, "new label.*regression"),
        ({"action": "keep", "new_value": 1.0}, "'keep' came with a new value"),
    ],
)
def test_a_correction_that_makes_no_sense_is_refused(homes, wrong, told):
    fields = {"action": "relabel", **wrong}
    with pytest.raises(InvalidDecisionError, match=told):
        homes.decide(homes.by_rank(1), **fields)
    assert get_example(homes.engine, homes.by_rank(1), None).version == 0


@pytest.mark.sqlite_only
def test_a_label_is_not_corrected_to_a_number(scene):
    with pytest.raises(InvalidDecisionError, match=r"new value.*classification"):
        scene.decide(scene.by_rank(1), "relabel", new_value=1.0)
    with pytest.raises(InvalidDecisionError, match="Choose a class"):
        scene.decide(scene.by_rank(1), "relabel")


@pytest.mark.parametrize(
    "values", ["'keep', NULL, 1.5", "'relabel', 1, 1.5", "'exclude', NULL, 0.0"]
)
def test_the_database_itself_refuses_an_impossible_value(homes, values):
    statement = (
        "INSERT INTO decision (project_id, example_id, version, reviewer_id, action, new_label,"  # noqa: S608
        " new_value, given_label, note, created_at, source) SELECT project_id, example_id, 2,"
        f" reviewer_id, {values}, 0, '', created_at, source FROM decision"
    )
    homes.decide(homes.by_rank(1))
    with pytest.raises(IntegrityError, match="ck_decision_new_"), writing(homes.engine) as writer:
        writer.execute(text(statement))


def test_a_stale_press_is_told_in_numbers(homes):
    one = homes.by_rank(1)
    homes.decide(one, "relabel", new_value=5.25)
    homes.decide(one, "keep", reviewer="bob")
    with pytest.raises(
        StaleDecisionError, match=r"ann relabelled it from 105 to 5\.25.*bob kept the value 105"
    ):
        record_decision(homes.engine, NewDecision(one, 0, "eve", "exclude"))
    assert get_example(homes.engine, one, None).version == 2


def test_the_view_of_current_values_says_what_the_screens_say(homes):
    homes.decide(homes.train_ids[0], "relabel", new_value=-1.5)
    homes.decide(homes.train_ids[1], "exclude")
    with reading(homes.engine) as connection:
        found = connection.execute(
            text("SELECT example_id, given_value, value, status FROM current_label")
        ).all()
    views = [get_example(homes.engine, row.example_id, None) for row in found]
    assert [(row.given_value, row.value, row.status) for row in found] == [
        (view.given_value, view.current_value, view.status) for view in views
    ]
    assert -1.5 in [row.value for row in found]


def test_the_history_tells_values_and_rows(homes):
    homes.decide(homes.train_ids[2], "relabel", new_value=8.0)
    homes.decide(homes.train_ids[2], "relabel", new_value=9.0)
    newest, oldest = fetch_history(homes.engine, homes.project.id).rows
    assert (oldest.given_value, oldest.new_value, oldest.current_value) == (102.0, 8.0, 9.0)
    assert (newest.new_value, newest.predicted_value) == (9.0, 94.0)
    assert newest.fields["street"] == "2é Rue <b>"
    found = fetch_history(homes.engine, homes.project.id, text="2é RUE")
    assert found.total == 2
    assert fetch_history(homes.engine, homes.project.id, text="street").total == 0


def test_counts_of_classes_are_empty_and_progress_is_not(homes):
    homes.decide(homes.train_ids[0], "relabel", new_value=1.0)
    assert class_balance(homes.engine, homes.project.id) == []
    assert label_confusion(homes.engine, homes.run.id, "train").shape == (0, 0)
    progress = review_progress(homes.engine, homes.project.id)
    assert (progress.total, progress.reviewed) == (6, 1)


@pytest.mark.parametrize(
    ("choice", "positions"),
    [
        ({"given_from": 103.0}, [5, 4, 3]),
        ({"given_to": 101.0}, [1, 0]),
        ({"given_from": 101.5, "given_to": 103.0}, [3, 2]),
        ({"given_from": 7.0, "given_to": 3.0}, []),
        ({"given_from": -math.inf, "given_to": math.inf}, [5, 4, 3, 2, 1, 0]),
        ({"text": "3é rue"}, [3]),
        ({"text": "<B>"}, [5, 4, 3, 2, 1, 0]),
        ({"text": "street"}, []),  # a column's name stands in every row
        ({"text": "null"}, []),
        ({"text": "train-4"}, [4]),
        ({"text": "rue", "given_from": 105}, [5]),
    ],
)
def test_the_queue_is_filtered_by_value_and_by_cell(homes, choice, positions):
    page = fetch_page(homes.engine, homes.run.id, filter=QueueFilter(**choice))
    assert [row.position for row in page.rows] == positions
    assert page.total == len(positions)


ODD_CELLS = ['say "hi"', "back\\slash", "100% of_it", "line\nbreak", "日本語 👂", "null", "c\u0001"]


@pytest.mark.parametrize(
    ("wanted", "positions"),
    [
        ('"', [0]),
        ('y "H', [0]),
        ("\\", [1]),
        ("%", [2]),
        ("f_i", [2]),
        ("\n", [3]),
        ("本語 👂", [4]),
        ("NULL", [5]),
        ("\\n", []),
        ("u0001", []),
        ("c\u0001", [6]),
        ("nul\x00", []),
        ("half \ud800", []),
    ],
)
def test_a_cell_is_searched_as_it_stands(engine, wanted, positions):
    project = create_project(engine, slug="odd", title="O", kind="table", task="regression")
    rows = [
        NewExample(f"key{n}", "train", n, given_value=0, fields={"say": cell, "none": None})
        for n, cell in enumerate(ODD_CELLS)
    ]
    add_examples(engine, project.id, rows)
    run = register_run(
        engine,
        project.id,
        key="odd",
        folder="runs/odd",
        config={},
        checkpoints=[],
        scores={"self_influence": -np.arange(len(rows))},
        predictions={},
    )
    found = fetch_page(engine, run.id, filter=QueueFilter(text=wanted))
    assert [row.position for row in found.rows] == positions


def test_the_queue_is_filtered_by_status_with_a_range(homes):
    homes.decide(homes.train_ids[5], "relabel", new_value=1.0)
    pending = QueueFilter(status="pending", given_from=103.0)
    assert [
        row.position for row in fetch_page(homes.engine, homes.run.id, filter=pending).rows
    ] == [
        4,
        3,
    ]
    assert next_suspect(homes.engine, homes.run.id, filter=pending).position == 4
    reviewed = QueueFilter(status="reviewed", given_from=103.0)
    found = fetch_page(homes.engine, homes.run.id, filter=reviewed)
    assert [(row.position, row.current_value) for row in found.rows] == [(5, 1.0)]


def test_test_examples_come_with_the_largest_residual_first(engine):
    homes = build_homes(engine, 2, 5)
    rows = fetch_test_page(engine, homes.run.id).rows
    assert [row.position for row in rows] == [4, 3, 2, 1, 0]


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    "wrong",
    [
        {"given_value": None},
        {"given_value": math.nan},
        {"given_value": -math.inf},
        {"given_label": 1},
        {"fields": {"rooms": 1, "street": "a"}},
        {"fields": {"rooms": 1, "street": "a", "north": 2, "south": 3}},
        {"fields": {"rooms": "many", "street": "a", "north": None}},
        {"fields": {"rooms": math.nan, "street": "a", "north": None}},
        {"fields": {"rooms": 10**400, "street": "a", "north": None}},
        {"fields": {"rooms": True, "street": "a", "north": None}},
        {"fields": {"rooms": 1, "street": "nul\x00", "north": None}},
        {"fields": {"rooms": 1, "street": ["list"], "north": None}},
        {"fields": {"rooms": np.int64(1), "street": "a", "north": None}},
    ],
)
def test_an_impossible_row_or_value_is_refused(homes, wrong):
    good = {"given_value": 1.0, "fields": {"rooms": 1, "street": "a", "north": 0.5}}
    with pytest.raises(InputError):
        add_examples(
            homes.engine, homes.project.id, [NewExample("new", "train", 6, **{**good, **wrong})]
        )
    add_examples(homes.engine, homes.project.id, [NewExample("new", "train", 6, **good)])


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    "wrong",
    [
        {"task": "ranking"},
        {"classes": ("a", "b")},
        {"settings": {"x": math.nan}},
        {"settings": {"x": object()}},
        {"settings": {"columns": [{"name": "a", "kind": "colour"}]}},
        {"settings": {"columns": [{"name": "", "kind": "number"}]}},
        {"settings": {"columns": ["a"]}},
        {"settings": {"columns": [{"name": "a", "kind": "number"}] * 2}},
        {"settings": {"columns": [{"name": "a\x00", "kind": "number"}]}},
        {"target": "nul\x00"},
    ],
)
def test_an_impossible_regression_project_is_refused(engine, wrong):
    values = {"slug": "homes", "title": "H", "kind": "table", "task": "regression", **wrong}
    with pytest.raises(InputError):
        create_project(engine, **values)


def test_values_belong_to_regression_and_arrays_to_the_task(homes, scene):
    with pytest.raises(InputError, match="task is classification"):
        add_examples(scene.engine, scene.project.id, [NewExample("new", "train", 6, given_value=1)])
    rest = {"key": "x", "folder": "runs/x", "config": {}, "checkpoints": [], "scores": {}}
    ones = np.ones(3)
    with pytest.raises(InputError, match=r"3 arrays.*Expected 1 for regression: predicted value"):
        register_run(homes.engine, homes.project.id, predictions={"test": (ones,) * 3}, **rest)
    with pytest.raises(InputError, match=r"1 arrays.*Expected 3 for classification"):
        register_run(scene.engine, scene.project.id, predictions={"test": (ones,)}, **rest)
    predicted = (np.array([0, math.nan, 1]),)
    with pytest.raises(InputError, match="nan at position 1"):
        register_run(homes.engine, homes.project.id, predictions={"test": predicted}, **rest)


def test_a_summary_tells_given_and_current_values(homes):
    homes.decide(homes.train_ids[0], "relabel", new_value=200.0)
    homes.decide(homes.train_ids[1], "exclude")
    homes.decide(homes.train_ids[2], "keep")
    found = value_summary(homes.engine, homes.project.id, bins=10)
    assert (found.given.count, found.current.count) == (6, 5)
    assert (found.given.minimum, found.given.median, found.given.maximum) == (100.0, 102.0, 105.0)
    assert (found.current.minimum, found.current.maximum) == (102.0, 200.0)
    assert (len(found.edges), found.edges[0], found.edges[-1]) == (11, 100.0, 200.0)
    assert found.given.histogram == (6, *[0] * 9)
    assert found.current.histogram == (4, *[0] * 8, 1)
    assert value_summary(homes.engine, homes.project.id, "test").given.count == 3


def test_a_summary_of_no_numbers_is_empty(scene):
    found = value_summary(scene.engine, scene.project.id)
    assert (found.given.count, found.given.median, found.edges) == (0, None, ())
    with pytest.raises(NotFoundError):
        value_summary(scene.engine, 999)


@given(
    values=st.lists(NUMBERS, min_size=1, max_size=8),
    corrected=st.dictionaries(st.integers(0, 7), NUMBERS, max_size=3),
    excluded=st.sets(st.integers(0, 7), max_size=3),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_numbers_are_summarised(engine, values, corrected, excluded):
    scene = build_homes(engine, 1, 1)
    project = create_project(
        engine, slug=f"n-{scene.project.id}", title="N", kind="text", task="regression"
    )
    examples = [NewExample(str(n), "train", n, given_value=one) for n, one in enumerate(values)]
    add_examples(engine, project.id, examples)
    now = dict(enumerate(values))
    for view in find_by_positions(engine, project.id, None, "train", range(len(values))):
        position = view.position
        if position in excluded:
            scene.decide(view.id, "exclude")
            del now[position]
        elif corrected.get(position, view.given_value) != view.given_value:
            scene.decide(view.id, "relabel", new_value=corrected[position])
            now[position] = corrected[position]
    found = value_summary(engine, project.id, bins=7)
    for numbers, told in ((values, found.given), (list(now.values()), found.current)):
        ordered = sorted(numbers)
        assert told.count == sum(told.histogram) == len(ordered)
        assert (told.minimum, told.maximum) == (
            (ordered[0], ordered[-1]) if ordered else (None, None)
        )
        if ordered:
            assert told.median == ordered[(len(ordered) - 1) // 2]
    assert list(found.edges) == sorted(found.edges)
    assert all(map(math.isfinite, found.edges))


@given(
    low=NUMBERS | st.none(), high=NUMBERS | st.none(), wanted=st.sampled_from(["", "é", "1", "-"])
)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_range_keeps_what_lies_in_it(engine, low, high, wanted):
    homes = build_homes(engine, 4, 1)
    choice = QueueFilter(given_from=low, given_to=high, text=wanted)
    found = fetch_page(engine, homes.run.id, filter=choice)
    whole = fetch_page(engine, homes.run.id).rows
    expected = [
        row
        for row in whole
        if (low is None or row.given_value >= low)
        and (high is None or row.given_value <= high)
        and (wanted in row.key or any(wanted in str(cell) for cell in row.fields.values()))
    ]
    assert found.rows == expected
    assert found.total == len(expected)


@pytest.mark.sqlite_only
def test_a_project_of_labels_has_no_values(engine):
    scene = build_scene(engine)
    view = get_example(engine, scene.by_rank(1), scene.run.id)
    assert (view.fields, view.given_value, view.current_value, view.predicted_value) == (None,) * 4
    assert view.predicted_label is not None
