"""Corrected numbers and rows of tables as files."""

from __future__ import annotations

import csv
import io
from itertools import count

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project
from relabel.export import export_labels
from tests.relabel.db.builders import build_homes
from tests.relabel.exporters.test_export import read

COLUMNS = [
    "key",
    "split",
    "rooms",
    "street",
    "north",
    "given_value",
    "value",
    "status",
    "excluded",
    "action",
    "note",
    "reviewer",
    "decided_at",
    "version",
    "source_place",
]
OURS = [name for name in COLUMNS if name not in ("rooms", "street", "north")]

_numbers = count()


@pytest.fixture
def homes(engine):
    homes = build_homes(engine)
    homes.decide(homes.train_ids[1], "relabel", new_value=-0.5)
    homes.decide(homes.train_ids[2], "exclude")
    return homes


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_numbers_are_numbers_and_rows_have_their_columns(homes, format):
    rows = read(export_labels(homes.engine, homes.project.id, format=format), format)
    assert list(rows[0]) == COLUMNS
    assert [(row["given_value"], row["value"]) for row in rows[:3]] == [
        (100.0, 100.0),
        (101.0, -0.5),
        (102.0, 102.0),
    ]
    assert (rows[1]["rooms"], rows[1]["street"], rows[1]["north"]) == (1, "1é Rue <b>", None)
    assert (rows[1]["action"], rows[2]["excluded"]) == ("relabel", True)
    assert rows[1]["source_place"] == "homes.csv, row 3"
    assert len(rows) == 9


@pytest.mark.sqlite_only
def test_parquet_has_numeric_types(homes):
    content = export_labels(homes.engine, homes.project.id, format="parquet", reviewed_only=True)
    schema = pq.read_table(io.BytesIO(content)).schema
    types = {name: schema.field(name).type for name in schema.names}
    assert {types[name] for name in ("rooms", "north", "given_value", "value")} == {pa.float64()}
    assert (types["street"], types["excluded"]) == (pa.string(), pa.bool_())


@pytest.mark.sqlite_only
def test_a_negative_number_stays_a_number_in_csv(homes):
    rows = read(export_labels(homes.engine, homes.project.id, format="csv"), "csv")
    assert (rows[1]["given_value"], rows[1]["value"], rows[1]["north"]) == ("101.0", "-0.5", "")


def make_table(engine, columns, rows, *, described=True, classes=("=yes", "no")):
    """Make a classification project of a table; columns are names with kinds."""
    project = create_project(
        engine,
        slug="table",
        title="T",
        kind="table",
        classes=classes,
        settings={"columns": [{"name": name, "kind": kind} for name, kind in columns]}
        if described
        else {},
    )
    examples = [
        NewExample(str(n), "train", n, n % len(classes), fields=dict(row))
        for n, row in enumerate(rows)
    ]
    add_examples(engine, project.id, examples)
    return project


@pytest.mark.sqlite_only
def test_csv_names_and_cells_of_a_table_are_no_formulas(engine):
    columns = [("=cmd|' /C calc'!A0", "category"), ("@x", "number")]
    rows = [{columns[0][0]: "+1", "@x": -2.5}, {columns[0][0]: "\t=1", "@x": 3}]
    project = make_table(engine, columns, rows)
    content = export_labels(engine, project.id, format="csv").decode()
    table = list(csv.reader(io.StringIO(content, newline="")))
    assert table[0][2:5] == ["'=cmd|' /C calc'!A0", "'@x", "given_label"]
    assert [line[2:5] for line in table[1:]] == [["'+1", "-2.5", "'=yes"], ["'\t=1", "3", "no"]]


@pytest.mark.sqlite_only
def test_a_column_called_like_one_of_ours_is_told_apart(engine):
    names = ["label", "key", "field_key", "value", "text"]
    rows = [{name: f"{name}!" for name in names}]
    project = make_table(engine, [(name, "category") for name in names], rows)
    row = read(export_labels(engine, project.id, format="jsonl"), "jsonl")[0]
    # `value` is ours for regression only, and a table has no text of its own.
    assert list(row)[:8] == [
        "key",
        "split",
        "field_label",
        "field_field_key",
        "field_key",
        "value",
        "text",
        "given_label",
    ]
    assert (row["key"], row["label"], row["field_label"]) == ("0", "=yes", "label!")
    assert (row["field_field_key"], row["field_key"]) == ("key!", "field_key!")


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_table_that_nobody_described_is_described_by_its_rows(engine, format):
    rows = [{"a": 1, "b": 2}, {"a": None, "b": "two"}, {"c": 0.5}]
    project = make_table(engine, [], rows, described=False)
    found = read(export_labels(engine, project.id, format=format), format)
    assert list(found[0])[2:5] == ["a", "b", "c"]
    cells = [[row[name] for name in "abc"] for row in found]
    expected = {
        "csv": [["1", "2", ""], ["", "two", ""], ["", "", "0.5"]],
        "jsonl": [[1, 2, None], [None, "two", None], [None, None, 0.5]],
        "parquet": [[1.0, "2", None], [None, "two", None], [None, None, 0.5]],
    }
    assert cells == expected[format]


def test_a_large_whole_number_does_not_stop_parquet(engine):
    project = make_table(engine, [("n", "number"), ("c", "category")], [{"n": 2**63, "c": 2**63}])
    row = read(export_labels(engine, project.id, format="parquet"), "parquet")[0]
    assert (row["n"], row["c"]) == (float(2**63), str(2**63))


def test_numbers_of_texts_are_exported_beside_the_text(engine):
    project = create_project(engine, slug="stars", title="S", kind="text", task="regression")
    add_examples(engine, project.id, [NewExample("a", "train", 0, text="=bad", given_value=1.5)])
    row = read(export_labels(engine, project.id, format="csv"), "csv")[0]
    assert (row["text"], row["given_value"], row["value"]) == ("'=bad", "1.5", "1.5")


cells = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
numbers = (
    st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_table_comes_back_whole(engine, data):
    chosen = data.draw(st.lists(names | st.sampled_from(OURS), min_size=1, max_size=4, unique=True))
    kinds = [data.draw(st.sampled_from(["number", "category"])) for _ in chosen]
    columns = [{"name": n, "kind": k} for n, k in zip(chosen, kinds, strict=True)]
    rows = [
        {c["name"]: data.draw(numbers if c["kind"] == "number" else cells) for c in columns}
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    project = create_project(
        engine,
        slug=f"any-{next(_numbers)}",
        title="T",
        kind="table",
        task="regression",
        settings={"columns": columns},
    )
    examples = [
        NewExample(str(n), "train", n, given_value=n, fields=row) for n, row in enumerate(rows)
    ]
    add_examples(engine, project.id, examples)
    for format in ("jsonl", "parquet"):
        found = read(export_labels(engine, project.id, format=format), format)
        for row, line in zip(rows, found, strict=True):
            assert len(line) == len(OURS) + len(columns)
            shown = [value for name, value in line.items() if name not in OURS]
            assert shown == list(row.values())
    content = export_labels(engine, project.id, format="csv").decode()
    table = list(csv.reader(io.StringIO(content, newline="")))
    assert {len(line) for line in table} == {len(OURS) + len(columns)}
    for line in table:
        for cell in line:
            assert cell[:1] not in ("=", "+", "@", "\t", "\r")
            assert not cell.startswith("-") or float(cell) <= 0  # a number, no text
