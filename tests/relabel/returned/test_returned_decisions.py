"""Decisions come back from files: previewed, recorded once, and equal when they are exported."""

from __future__ import annotations

import csv
import io
import json

import pytest
from sqlalchemy import event

from relabel.cli import main
from relabel.db.decisions.history import fetch_events, fetch_history
from relabel.db.decisions.recording import undo_decision
from relabel.db.engine import open_database
from relabel.db.examples import get_example
from relabel.db.project_rules import Project
from relabel.db.team.reviewers import LEAD, Identity, set_role
from relabel.errors import NotAllowedError
from relabel.export import export_labels
from relabel.importers.records import Problem
from relabel.returned.apart import read_decisions_apart
from relabel.returned.plan import (
    ALIKE,
    KNOWN,
    NEW,
    NOT_FOUND,
    RECORDED,
    STALE,
    TWICE,
    UNDECIDED_ROW,
    UNKNOWN_CLASS,
    UNUSABLE,
    plan_decisions,
    record_decisions,
)
from relabel.returned.read import choose_action, read_decisions
from tests.relabel.db.builders import Scene, build_homes, build_scene
from tests.relabel.exporters.scenes import HOSTILE, build_hostile
from tests.relabel.exporters.test_hostile_exports import built as built
from tracin_core.errors import InputError

pytestmark = pytest.mark.sqlite_only


def bring(engine, project: Project, path, **options) -> dict[str, int]:
    """Import a file of decisions; return what became of its rows."""
    plan = plan_decisions(engine, project, read_decisions(path), reviewer="me", **options)
    return {what: n for what, n in record_decisions(engine, plan).counts.items() if n}


def decide_some(scene: Scene) -> None:
    is_number = scene.project.task == "regression"
    new = {"new_value": -0.5} if is_number else {"new_label": 2}
    scene.decide(scene.train_ids[0], "relabel", note="=ears\n👂", reviewer="Zoë", **new)
    scene.decide(scene.train_ids[1], "keep", note="'quoted")
    scene.decide(scene.train_ids[2], "exclude")
    scene.decide(scene.train_ids[3], "ambiguous", note="or not")
    scene.decide(scene.train_ids[4], "skip")
    scene.decide(scene.test_ids[0], "keep", reviewer="bob")


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet", "label-studio"])
@pytest.mark.parametrize("build", [build_scene, build_homes])
def test_decisions_of_one_project_are_the_same_in_another_one(engine, tmp_path, format, build):
    there, here = build(engine), build(engine)
    decide_some(there)
    path = tmp_path / f"out.{'json' if format == 'label-studio' else format}"
    export_labels(engine, there.project.id, format=format, path=path)
    found = bring(engine, here.project, path)
    assert found[RECORDED] == 6
    again = export_labels(engine, here.project.id, format=format)
    assert again == path.read_bytes()
    event = fetch_events(engine, here.train_ids[0])[0]
    assert (event.source, event.reviewer) == ("import", "Zoë")
    assert event.stated_at == fetch_events(engine, there.train_ids[0])[0].created_at
    assert event.created_at > event.stated_at
    # A second time nothing is recorded, also of what was taken back since then.
    undo_decision(engine, event.id, reviewer="ann")
    assert bring(engine, here.project, path) == {KNOWN: 6} | {
        what: n for what, n in found.items() if what == UNDECIDED_ROW
    }


def write(path, rows) -> None:
    names = ["key", "given_label", "label", "action", "note", "reviewer", "decided_at", "version"]
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(lines.getvalue(), newline="")


def test_each_row_that_cannot_be_recorded_is_counted_and_the_first_are_shown(scene, tmp_path):
    path = tmp_path / "back.csv"
    scene.decide(scene.train_ids[1], "exclude")
    scene.decide(scene.train_ids[2], "keep")
    given = {f"train-{n}": ("cat", "dog", "emu")[n % 3] for n in range(6)}
    write(
        path,
        [
            {"key": "train-0", "given_label": "cat", "label": "dog"},  # by hand, in a spreadsheet
            {"key": "train-0", "given_label": "cat", "label": "emu"},
            {"key": "train-1", "label": given["train-1"], "action": "keep", "version": 0},
            {"key": "train-2", "label": "emu", "action": "keep", "version": 1},
            {"key": "train-3", "given_label": "cat", "label": "gnu"},
            {"key": "train-4", "given_label": "dog", "label": "dog"},
            {"key": "train-5", "label": "emu", "action": "burn"},
            {"key": "nobody", "label": "emu", "action": "keep"},
            {"key": "", "label": "emu", "action": "keep"},
        ],
    )
    plan = plan_decisions(scene.engine, scene.project, read_decisions(path), reviewer="me")
    counts = {what: n for what, n in plan.report.counts.items() if n}
    expected = {NEW: 1, TWICE: 1, STALE: 1, ALIKE: 1, UNKNOWN_CLASS: 1, UNDECIDED_ROW: 1}
    assert counts == expected | {UNUSABLE: 2, NOT_FOUND: 1}
    lines = "\n".join(plan.report.describe())
    assert "row 6, 'train-3': 'gnu'" in lines
    assert "row 4, 'train-1': here exclude, in the file keep" in lines
    assert "row 9, 'nobody'" in lines
    assert "'burn'" in lines
    assert fetch_history(scene.engine, scene.project.id).total == 2
    assert record_decisions(scene.engine, plan).counts[RECORDED] == 1
    newest = fetch_history(scene.engine, scene.project.id).rows[0]
    assert (newest.reviewer, newest.new_label, newest.stated_at) == ("me", 1, None)
    over = bring(scene.engine, scene.project, path, over=True)
    assert over[RECORDED] == 1
    assert fetch_events(scene.engine, scene.train_ids[1])[-1].action == "keep"


def test_what_was_changed_in_an_export_is_laid_on_top(scene, tmp_path):
    scene.decide(scene.train_ids[0], "keep", note="sure")
    path = tmp_path / "out.csv"
    export_labels(scene.engine, scene.project.id, format="csv", path=path)
    text = path.read_text()
    path.write_text(
        text.replace(
            "train-0,train,text 0 of train,cat,cat", "train-0,train,text 0 of train,cat,dog"
        )
    )
    assert bring(scene.engine, scene.project, path)[RECORDED] == 1
    event = fetch_events(scene.engine, scene.train_ids[0])[-1]
    assert (event.action, event.new_label, event.version) == ("relabel", 1, 2)


def test_with_a_lead_only_leads_bring_decisions_and_nobody_overrules_by_a_file(scene, tmp_path):
    set_role(scene.engine, "Cleo", LEAD)
    scene.decide(scene.train_ids[0], "exclude", reviewer="ann")
    key = get_example(scene.engine, scene.train_ids[0], None).key
    path = tmp_path / "decisions.jsonl"
    row = {"key": key, "action": "keep", "version": 0, "given_label": "cat", "label": "cat"}
    path.write_text(json.dumps(row | {"reviewer": "bob"}) + "\n")

    def plan():
        rows = read_decisions(path)
        return plan_decisions(scene.engine, scene.project, rows, reviewer="me", over=True)

    with pytest.raises(NotAllowedError, match="Only a lead may bring decisions"):
        record_decisions(scene.engine, plan(), asked_by=Identity("bob"))
    report = record_decisions(scene.engine, plan(), asked_by=Identity("cleo"))
    assert report.counts[UNUSABLE] == 1
    assert "Only a lead may decide otherwise" in report.told[UNUSABLE][0]
    assert get_example(scene.engine, scene.train_ids[0], None).status == "excluded"


def test_label_studios_own_export_is_read(scene, tmp_path):
    def annotate(key, choice, **more):
        result = [
            {
                "from_name": "sentiment",
                "to_name": "text",
                "type": "choices",
                "value": {"choices": [choice]},
            }
        ]
        return {
            "id": 7,
            "data": {"text": "t", "ref_id": key, "given_label": "cat"},
            "annotations": [
                {"result": [], "created_at": "2026-01-01T10:00:00Z", "completed_by": 3},
                {"result": result, "created_at": "2026-01-02T10:00:00Z"} | more,
            ],
        }

    person = {"completed_by": {"id": 3, "email": "zoe@example.org", "first_name": "Zoë"}}
    path = tmp_path / "project-7.json"
    tasks = [
        annotate("train-0", "cat", **person),
        annotate("train-3", "emu", completed_by=3),
        annotate("test-0", "emu", was_cancelled=True),
        {"data": {"text": "no reference"}, "annotations": []},
        {"data": {"text": "t", "ref_id": "train-1"}, "annotations": []},
    ]
    path.write_text(json.dumps(tasks))
    found = bring(scene.engine, scene.project, path)
    assert found == {RECORDED: 3, UNUSABLE: 1, UNDECIDED_ROW: 1}
    rows = fetch_history(scene.engine, scene.project.id).rows
    assert [(row.key, row.action, row.reviewer) for row in reversed(rows)] == [
        ("train-0", "keep", "zoe@example.org"),
        ("train-3", "relabel", "me"),
        ("test-0", "skip", "me"),
    ]


@pytest.mark.parametrize("format", ["csv", "jsonl", "label-studio"])
@pytest.mark.parametrize("name", ["text", "numbers"])
def test_decisions_on_hostile_data_come_back(built, engine, tmp_path, format, name):
    there, projects, _ = built
    path = tmp_path / ("out.json" if format == "label-studio" else f"out.{format}")
    export_labels(there, projects[name].id, format=format, path=path)
    here = build_hostile(engine, tmp_path / "media", name, decided=False)
    found = bring(engine, here, path)
    assert found == {RECORDED: len(HOSTILE) - 10, UNDECIDED_ROW: 10}
    assert export_labels(engine, here.id, format=format) == path.read_bytes()


def test_a_file_without_decisions_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,b\nc,d\n")
    for path in (tmp_path / "a.csv", tmp_path / "none.csv"):
        with pytest.raises(InputError, match=r"those of an export|is no file"):
            list(read_decisions(path))


def test_the_command_previews_and_records(place, capsys, tmp_path):
    engine = open_database(place.database_url)
    project = build_scene(engine).project
    engine.dispose()
    start = ["--workspace", str(place.root)]
    assert main([*start, "export", project.slug, "-o", str(tmp_path / "all.jsonl")]) == 0
    row = {"key": "train-0", "given_label": "cat", "label": "dog"}
    assert "9 examples, 0 of them reviewed, 0 corrected, 0 excluded" in capsys.readouterr().out
    write(tmp_path / "back.csv", [row])
    words = [*start, "decisions", project.slug, str(tmp_path / "back.csv"), "--reviewer", "Zoë"]
    steps = {"--preview": "1 to be recorded", "": "1 recorded", "--over": "1 recorded before"}
    for more, expected in steps.items():
        assert main([*words, *filter(None, [more])]) == 0
        assert capsys.readouterr().out.startswith(expected)


def test_a_file_that_is_read_apart_says_the_same(scene, tmp_path):
    path = tmp_path / "back.csv"
    rows = [
        {"key": "train-0", "given_label": "cat", "label": "dog", "decided_at": "2026-05-04T10:00Z"},
        {"key": "train-1", "given_label": "dog", "label": "dog"},
        {"key": "", "label": "emu", "action": "keep"},
        {"key": "'=train-2", "label": "emu", "action": "keep", "note": "'=1", "version": 1},
        {"key": "train-4", "given_label": "dog", "label": "dog"},
    ]
    write(path, rows)
    here, apart = list(read_decisions(path)), list(read_decisions_apart(path))
    decided = [one for one in here if isinstance(one, Problem) or choose_action(one)]
    assert apart[: len(decided)] == decided
    assert len(apart) == len(here) == 5
    assert not [one for one in apart[len(decided) :] if choose_action(one)]
    plan = plan_decisions(scene.engine, scene.project, iter(apart), reviewer="me")
    assert plan.report.counts[UNDECIDED_ROW] == 2


def test_a_file_that_cannot_be_read_apart_is_refused_as_it_is_here(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("name,age\nann,7\n")
    with pytest.raises(InputError, match="Expected those of an export") as here:
        list(read_decisions(path))
    with pytest.raises(InputError) as apart:
        read_decisions_apart(path)
    assert str(apart.value) == str(here.value)


def test_many_decisions_are_recorded_in_few_transactions(engine, tmp_path):
    scene = build_scene(engine, 250)
    path = tmp_path / "back.csv"
    write(path, [{"key": f"train-{n}", "label": "emu", "action": "exclude"} for n in range(250)])
    plan = plan_decisions(engine, scene.project, read_decisions(path), reviewer="me")
    scene.decide(scene.train_ids[7], "keep")  # meanwhile; it is refused by itself
    commits = []
    event.listen(engine, "commit", commits.append)
    report = record_decisions(engine, plan)
    assert report.counts[RECORDED] == 249
    assert report.counts[STALE] == 1
    assert "Meanwhile ann" in report.told[STALE][0]
    assert len(commits) == 3
    assert get_example(engine, scene.train_ids[7], None).status == "kept"
    assert fetch_history(engine, scene.project.id).total == 250
