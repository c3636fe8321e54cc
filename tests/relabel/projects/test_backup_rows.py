"""Rows of a backup that no program of ours wrote: refused by name, nothing half restored."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import undo_decision
from relabel.db.engine import open_database
from relabel.db.projects import get_project, list_hidden_projects, list_projects
from relabel.projects.backup import backup_project
from relabel.projects.backup_file import MANIFEST, FileEntry
from relabel.projects.restore import restore_project
from relabel.workspace import Workspace
from tests.relabel.db.builders import Scene, build_homes, build_scene
from tracin_core.errors import InputError

Table = list[list[Any]]
Change = Callable[[Table], Table]


@pytest.fixture
def engine(place: Workspace):
    engine = open_database(place.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def scene(engine) -> Scene:
    """Decided, decided again and taken back: the events 1 to 4, of two examples."""
    scene = build_scene(engine)
    scene.decide(scene.train_ids[0], "relabel", new_label=2)
    scene.decide(scene.train_ids[1], "keep", run_id=scene.run.id, rank=1, score=2.0)
    excluded = scene.decide(scene.train_ids[0], "exclude")
    undo_decision(engine, excluded.id, reviewer="bob")
    return scene


def restore_changed(
    scene: Scene, place: Workspace, table: str, change: Change, *, recount: bool = True
) -> None:
    source = backup_project(scene.engine, place, scene.project.slug, place.root / "b.zip")
    with zipfile.ZipFile(source) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(contents.pop(MANIFEST))
    name = f"rows/{table}.jsonl"
    rows = change([json.loads(line) for line in contents[name].splitlines()])
    if recount:
        manifest["counts"][table] = len(rows) - 1
    contents[name] = "".join(
        f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows
    ).encode()
    entries = {
        name: vars(FileEntry(len(content), sha256(content).hexdigest()))
        for name, content in contents.items()
    }
    changed = place.root / "changed.zip"
    with zipfile.ZipFile(changed, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        archive.writestr(MANIFEST, json.dumps(manifest | {"entries": entries}))
    restore_project(scene.engine, place, changed, slug="again")


def put(column: str, value: Any, row: int = 1) -> Change:
    def change(rows: Table) -> Table:
        rows[row][rows[0].index(column)] = value
        return rows

    return change


def drop(column: str) -> Change:
    def change(rows: Table) -> Table:
        at = rows[0].index(column)
        return [row[:at] + row[at + 1 :] for row in rows]

    return change


def put_config(**changes: Any) -> Change:
    def change(rows: Table) -> Table:
        at = rows[0].index("config")
        rows[1][at] = rows[1][at] | changes
        return rows

    return change


def deep(rows: Table) -> list[Any]:
    at = rows[0].index("settings")
    before, after = json.dumps(rows[1][:at])[1:-1], json.dumps(rows[1][at + 1 :])[1:-1]
    nested = '{"a":' * 100_000 + "1" + "}" * 100_000
    return [rows[0], f"[{before},{nested},{after}]"]


CHANGES = [
    *(
        ("decision", put("created_at", moment), told)
        for moment, told in (
            ("0001-01-01T00:00:00+14:00", "years 1970 to 9000"),
            ("9999-12-31T23:59:59-14:00", "years 1970 to 9000"),
            ("1969-12-31T23:59:59+00:00", "years 1970 to 9000"),
            ("0000-01-01T00:00:00+00:00", "Expected a date"),
            ("10000-01-01T00:00:00+00:00", "Expected a date"),
            ("2026-02-30T00:00:00+00:00", "Expected a date"),
            ("2026-01-01T00:00:00", "with its zone"),
            (1767225600, "Expected a date"),
        )
    ),
    ("project", put("archived_at", "9999-12-31T23:59:59-14:00"), "column archived_at"),
    ("reviewer", put("created_at", "0001-01-01T00:00:00+00:00"), "column created_at"),
    ("run", put("created_at", "9999-01-01T00:00:00+00:00"), "column created_at"),
    ("decision", drop("version"), "lacks the column version"),
    ("decision", drop("example_id"), "lacks the column example_id"),
    ("project", drop("classes"), "lacks the column classes"),
    ("example", drop("key"), "lacks the column key"),
    ("checkpoint", drop("number"), "lacks the column number"),
    ("score", drop("value"), "lacks the column value"),
    ("score", lambda rows: [row + row[:1] for row in rows], "column twice"),
    ("score", lambda rows: [*rows, rows[-1]], "contradicts itself"),
    ("score", lambda rows: rows[:-1], "not whole"),
    ("score", put("rank", 70), "not whole"),
    ("score", put("value", float("nan")), "no finite number"),
    ("score", put("value", float("inf")), "no finite number"),
    ("score", put("signal", "tarot"), "not whole"),
    ("prediction", put("predicted_probability", float("nan")), "no finite number"),
    ("prediction", put("given_probability", 1.5), "no probability"),
    ("checkpoint", put("learning_rate", float("inf")), "no finite number"),
    ("example", put("fields", [[]]), "no names"),
    ("scoring", lambda rows: [*rows, rows[-1]], "twice"),
    ("reviewer", lambda rows: [*rows, rows[-1]], "twice"),
    ("decision", lambda rows: [*rows, rows[-1]], "contradicts itself"),
    ("decision", lambda rows: [rows[0], *rows[2:]], "with version 2, expected 1"),
    ("decision", put("version", 7), "with version 7, expected 1"),
    ("decision", put("undoes", 1, 4), "undoes what is not in force"),
    ("decision", put("undoes", 2, 4), "undoes what is not in force"),
    ("decision", put("action", "undo", 2), "contradicts itself"),
    ("decision", put("new_label", None), "without a new label"),
    ("decision", put("source", "oracle"), "Found the source 'oracle'"),
    ("decision", put("note", "x" * 3000), "3,000 characters"),
    ("decision", put("seconds_spent", -1.0), "seconds spent"),
    ("decision", put("seconds_spent", float("inf")), "no finite number"),
    ("decision", put("rank", 0, 2), "Found the rank 0"),
    ("decision", put("given_value", 1.5), "answer of another task"),
    ("decision", put("id", 10**30), "Expected a whole number"),
    ("decision", put("project_id", 99), "names the project 99"),
    ("example", put("project_id", 99), "names the project 99"),
    ("example", put("position", -1), "Expected 0 or more"),
    ("run", put("signals", {"self_influence": 1}), "no list of names"),
    ("run", put("signals", ["tarot"]), "some unknown"),
    ("run", put("num_ranked", 0), "0 ranked"),
    ("run", put("config", []), "configuration that is no object"),
    ("run", put_config(layers=7), "'layers' is no dict"),
    ("run", put_config(layers={"last": "head"}), "no list of names"),
    ("run", put_config(timings={"all": "long"}), "'timings' are no numbers"),
    ("run", put_config(timings={"all": 10**400}), "'timings' are no numbers"),
    ("run", put_config(indexes={"last": 1}), "no recall"),
    ("run", put_config(projection={"all": 3}), "no objects"),
    ("run", put_config(last_numbers=True), "'last_numbers' is no int"),
    ("project", put("settings", []), "settings are no object"),
    ("project", put("settings", {"columns": 1}), "no list of objects"),
    ("project", put("settings", {"imports": [1]}), "no list of objects"),
    ("project", put("settings", {"imports": [{}]}), "name of its batch"),
    ("project", put("settings", {"options": 3}), "no object"),
    ("project", put("settings", {"a": float("nan")}), "JSON that cannot be stored"),
    ("project", deep, "is no JSON|too deep"),
    ("project", put("classes", {"a": 1, "b": 2}), "no list of names"),
    ("project", put("classes", ["a", 1]), "no list of names"),
    ("project", lambda rows: rows[:1], "holds no project"),
]


@pytest.mark.parametrize(("table", "change", "told"), CHANGES)
def test_what_no_program_wrote_is_refused_by_name(scene, engine, place, table, change, told):
    with pytest.raises(InputError, match=told):
        restore_changed(scene, place, table, change)
    assert [project.slug for project in list_projects(engine)] == [scene.project.slug]
    assert list_hidden_projects(engine) == []
    folder = place.root / "projects"
    assert not folder.exists() or list(folder.iterdir()) == []


def as_before_states(deleting: Any) -> Change:
    """A project's row as versions wrote it that hid projects by their names."""

    def change(rows: Table) -> Table:
        names, values = rows
        row = dict(zip(names, values, strict=True))
        assert (row.pop("state"), row.pop("handed_to")) == ("shown", None)
        row["deleting"] = deleting
        return [list(row), list(row.values())]

    return change


def test_a_backup_of_a_version_without_states_is_restored(scene, engine, place):
    restore_changed(scene, place, "project", as_before_states(False))
    assert get_project(engine, "again").title == scene.project.title
    assert list_hidden_projects(engine) == []


def test_a_backup_of_a_project_that_was_being_deleted_is_refused(scene, place):
    with pytest.raises(InputError, match=r"column deleting, holds True\. Expected False"):
        restore_changed(scene, place, "project", as_before_states(True))


def test_what_a_backup_says_of_its_state_hides_nothing(scene, engine, place):
    def hide(rows: Table) -> Table:
        names, values = rows
        row = dict(zip(names, values, strict=True)) | {"state": "deleting", "handed_to": 1}
        return [list(row), list(row.values())]

    restore_changed(scene, place, "project", hide)
    assert get_project(engine, "again").title == scene.project.title


def test_a_table_of_a_newer_version_is_not_left_out_without_a_word(scene, place, tmp_path):
    source = backup_project(scene.engine, place, scene.project.slug, tmp_path / "b.zip")
    with zipfile.ZipFile(source) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(contents.pop(MANIFEST))
    contents["rows/comment.jsonl"] = b'["id"]\n[1]\n'
    manifest["entries"]["rows/comment.jsonl"] = vars(
        FileEntry(len(b'["id"]\n[1]\n'), sha256(b'["id"]\n[1]\n').hexdigest())
    )
    newer = Path(tmp_path / "newer.zip")
    with zipfile.ZipFile(newer, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        archive.writestr(MANIFEST, json.dumps(manifest))
    with pytest.raises(InputError, match=r"rows/comment\.jsonl.*update the program"):
        restore_project(scene.engine, place, newer, slug="again")


@pytest.mark.parametrize("table", ["decision", "prediction", "checkpoint", "scoring", "reviewer"])
def test_rows_that_are_missing_are_missed(scene, engine, place, table):
    with pytest.raises(InputError, match=r"rows, where the list|names the"):
        restore_changed(scene, place, table, lambda rows: rows[:-1], recount=False)
    assert list_hidden_projects(engine) == []


@pytest.mark.parametrize("zone", ["+14:00", "-12:00", "+00:00"])
def test_a_time_of_any_zone_is_the_same_moment(scene, engine, place, zone):
    restore_changed(scene, place, "decision", put("created_at", f"2026-05-04T12:00:00{zone}"))
    again = next(one for one in list_projects(engine) if one.slug == "again")
    first = fetch_history(engine, again.id).rows[-1]
    assert (
        first.created_at.isoformat()
        == {
            "+14:00": "2026-05-03T22:00:00+00:00",
            "-12:00": "2026-05-05T00:00:00+00:00",
            "+00:00": "2026-05-04T12:00:00+00:00",
        }[zone]
    )


def test_events_of_numbers_have_numbers(engine, place):
    scene = build_homes(engine)
    scene.decide(scene.train_ids[0], "relabel", new_value=3.5)
    with pytest.raises(InputError, match="without a new value"):
        restore_changed(scene, place, "decision", put("new_value", None))
    with pytest.raises(InputError, match="answer of another task"):
        restore_changed(scene, place, "decision", put("given_value", None))
