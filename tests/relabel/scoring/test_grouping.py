"""Groups of alike examples from the data to the queue: made once, kept, taken by a rescoring."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sqlalchemy import update

from relabel.cli import main
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import writing
from relabel.db.examples import NewExample, add_examples, find_by_positions
from relabel.db.groups import list_groups
from relabel.db.projects import create_project
from relabel.db.queue import QueueFilter, fetch_page
from relabel.db.runs import list_runs, read_group_counts
from relabel.db.schema import RunRow
from relabel.projects.backup import backup_project
from relabel.projects.restore import restore_project
from relabel.runs.folder import RunFolder
from relabel.runs.groups import GROUPS_FILE, GroupName, read_groups
from relabel.scoring import grouping
from relabel.scoring.project import rescore_project, score_project, train_project
from tests.relabel.scoring.small_projects import (
    CLASSES,
    QUICK,
    make_houses,
    make_images,
    make_texts,
    open_workspace,
)


@pytest.fixture
def opened(tmp_path):
    engine, workspace = open_workspace(tmp_path)
    yield engine, workspace
    engine.dispose()


def make_twins(engine):
    """Texts of which some come twice: with another label, in the other split, with a word more."""
    project = create_project(engine, slug="twins", title="Twins", kind="text", classes=CLASSES)
    rng = np.random.default_rng(0)
    words = [f"word{n}" for n in range(60)]
    texts = [" ".join(rng.choice(words, 8)) for _ in range(40)]
    texts[30] = texts[3]
    texts[31] = f"{texts[4]} once"
    of_test = [*(" ".join(rng.choice(words, 8)) for _ in range(9)), texts[5]]
    add_examples(
        engine,
        project.id,
        [
            NewExample(
                key=f"{split}-{position}",
                split=split,
                position=position,
                given_label=position % 2,
                text=text,
            )
            for split, all_texts in (("train", texts), ("test", of_test))
            for position, text in enumerate(all_texts)
        ],
    )
    return project


def score(engine, workspace, slug):
    train_project(engine, workspace, slug, QUICK)
    return score_project(engine, workspace, slug, QUICK)


def positions(engine, run, name, split="train"):
    page = fetch_page(engine, run.id, filter=QueueFilter(group=name, split=split))
    return sorted(row.position for row in page.rows)


def test_the_same_text_under_two_labels_is_a_group_and_one_with_a_word_more_is_near(opened):
    engine, workspace = opened
    make_twins(engine)
    run = score(engine, workspace, "twins")
    same = list_groups(engine, run, "train", "same")
    found = {tuple(positions(engine, run, one.name)): (one.differs, one.others) for one in same}
    assert found == {(3, 30): (True, 0), (5,): (False, 1)}
    near = [positions(engine, run, one.name) for one in list_groups(engine, run, "train", "near")]
    assert near == [[4, 31]]
    clusters = list_groups(engine, run, "train", "cluster")
    assert sum(one.total for one in clusters) == 40
    assert run.config["alike"]["reads"] == "words"


def test_a_rescoring_and_a_second_scoring_take_the_groups_that_are_there(opened, monkeypatch):
    engine, workspace = opened
    project = make_twins(engine)
    run = score(engine, workspace, "twins")
    folder = workspace.project_folder("twins")
    before = read_groups(folder / run.folder)
    monkeypatch.setattr(grouping, "find_alike", None)  # called, it would fail
    (view,) = find_by_positions(engine, project.id, None, "train", [7])
    record_decision(engine, NewDecision(view.id, 0, "ann", "relabel", new_label=0))
    again = rescore_project(engine, workspace, "twins").run
    assert again.key != run.key
    after = read_groups(folder / again.folder)
    for kind, splits in before.numbers.items():
        for split, numbers in splits.items():
            np.testing.assert_array_equal(numbers, after.numbers[kind][split])
    assert read_group_counts(again.config) == read_group_counts(run.config)


def test_groups_that_are_lost_are_made_again(opened):
    engine, workspace = opened
    make_twins(engine)
    run = score(engine, workspace, "twins")
    root = workspace.project_folder("twins") / run.folder
    (root / GROUPS_FILE).write_bytes(b"not an array")
    assert read_groups(root) is None
    again = rescore_project(engine, workspace, "twins").run
    assert read_groups(workspace.project_folder("twins") / again.folder) is not None
    assert positions(engine, again, GroupName("same", 1)) == [3, 30]


def test_a_backup_brings_the_groups_along(opened, tmp_path):
    engine, workspace = opened
    make_twins(engine)
    run = score(engine, workspace, "twins")
    target = tmp_path / "twins.zip"
    backup_project(engine, workspace, "twins", target)
    restored = restore_project(engine, workspace, target, slug="again")
    root = workspace.project_folder("again") / run.folder
    assert list(RunFolder(root).find_problems()) == []
    (again,) = list_runs(engine, restored.id)
    assert positions(engine, again, GroupName("same", 1)) == [3, 30]
    assert read_group_counts(again.config) == read_group_counts(run.config)


def test_pictures_and_rows_are_grouped_by_what_they_are(opened):
    engine, workspace = opened
    make_images(engine, workspace)
    media = workspace.media_folder("squares") / "train"
    (media / "8.png").write_bytes((media / "7.png").read_bytes())  # given "a" and "b"
    run = score(engine, workspace, "squares")
    assert positions(engine, run, GroupName("same", 1)) == [7, 8]
    assert run.config["alike"]["reads"] == "pixels"
    make_houses(engine)
    run = score(engine, workspace, "houses")
    assert run.config["alike"]["reads"] == "numbers"
    clusters = list_groups(engine, run, "train", "cluster")
    assert sum(one.total for one in clusters) == 200
    assert all(one.least <= one.greatest for one in clusters)


def test_the_command_line_lists_groups_and_the_suspects_of_one(opened, capsys):
    engine, workspace = opened
    make_twins(engine)
    score(engine, workspace, "twins")
    place = ["--workspace", str(workspace.root), "queue", "twins"]
    assert main([*place, "--group", "same", "--format", "json"]) == 0
    (first, second) = json.loads(capsys.readouterr().out)["groups"]
    assert (first["group"], first["left"], first["given"]) == ("same-1", 2, {"sun": 1, "rain": 1})
    assert (second["total"], second["in_other_split"]) == (1, 1)
    assert main([*place, "--group", "same-1", "--format", "json"]) == 0
    suspects = json.loads(capsys.readouterr().out)["suspects"]
    assert {one["key"] for one in suspects} == {"train-3", "train-30"}
    assert main([*place, "--group", "same"]) == 0
    assert "sun 1, rain 1" in capsys.readouterr().out
    assert main([*place, "--group", "same-99"]) != 0
    assert "There is no group 'same-99'" in capsys.readouterr().err


def test_without_groups_the_way_to_them_is_said(opened, capsys):
    engine, workspace = opened
    make_texts(engine, train=8, test=4)
    run = score(engine, workspace, "weather")
    with writing(engine) as connection:  # as an older version left it
        older = {k: v for k, v in run.config.items() if k not in ("groups", "alike")}
        connection.execute(update(RunRow).where(RunRow.id == run.id).values(config=older))
    place = ["--workspace", str(workspace.root), "queue", "weather"]
    assert main([*place, "--group", "near"]) != 0
    assert "rescore weather" in capsys.readouterr().err
