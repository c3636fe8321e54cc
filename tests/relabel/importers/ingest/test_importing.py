"""An import is there whole or not at all, and growth keeps what is there."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest

from relabel.cli import main
from relabel.cli.imports import import_data
from relabel.db.bulk import next_positions, read_keys
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import open_database
from relabel.db.examples import find_by_positions, get_example
from relabel.db.projects import create_project, get_project, list_projects
from relabel.errors import WorkspaceError
from relabel.features.image import read_image
from relabel.importers.formats.registry import IMPORTERS
from relabel.importers.ingest import staging as import_files
from relabel.importers.ingest.project import ImportReport, import_project
from relabel.importers.ingest.truth import read_planted, read_true_values, read_truth
from relabel.importers.options import ImportOptions
from relabel.jobs.tasks import TaskContext, find_task
from relabel.progress import Progress, ignore_progress
from relabel.workspace import REPOSITORY_ROOT, Workspace, resolve_workspace
from tests.preloaded import Preloaded, PreloadedProcess
from tests.relabel.importers.builders import image_folder, pets, picture, texts
from tracin_core.errors import InputError


@pytest.fixture
def own(tmp_path) -> Workspace:
    return resolve_workspace(tmp_path / "workspace")


@pytest.fixture
def engine(own):
    own.prepare()
    engine = open_database(own.database_url)
    yield engine
    engine.dispose()


def run(engine, own, path, slug="mine", **options) -> ImportReport:
    named = {k: options.pop(k) for k in ("strict", "on_progress", "title") if k in options}
    return import_project(engine, own, slug, path, ImportOptions(**options), **named)


def views(engine, slug="mine", split="train"):
    project = get_project(engine, slug)
    count = next_positions(engine, project.id)[split]
    return find_by_positions(engine, project.id, None, split, range(count))


def files_of(own, slug="mine") -> set[str]:
    """Return the files of a project but its lock."""
    folder = own.project_folder(slug)
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


# A new project of each kind


def test_images_are_stored_in_small_folders_and_can_be_read(engine, own, tmp_path):
    report = run(engine, own, image_folder(tmp_path / "pets", pets(each=10)), title="Pets")
    assert report.created
    assert report.added == {"train": 16, "test": 4}
    project = get_project(engine, "mine")
    assert (project.title, project.kind, project.classes) == ("Pets", "image", ("cat", "dog"))
    for split in ("train", "test"):
        for view in views(engine, split=split):
            path = own.media_folder("mine") / view.media_path
            assert len(view.media_path.split("/")) == 3
            assert read_image(path.read_bytes()).size == (6, 4)
    assert len(files_of(own)) == 20


def test_texts_and_rows_and_numbers_are_entered(engine, own, tmp_path):
    run(engine, own, texts(tmp_path / "texts.csv"))
    first = views(engine)[0]
    assert first.text.startswith("the text of number")
    assert files_of(own) == set()

    data = pd.DataFrame({"longitude": [n / 9 for n in range(30)], "kind": ["a", "b", "c"] * 10})
    data["price"] = [100.0 * n for n in range(30)]
    data.to_csv(tmp_path / "homes.csv", index=False)
    run(engine, own, tmp_path / "homes.csv", "homes", target="price")
    project = get_project(engine, "homes")
    assert (project.task, project.target, project.classes) == ("regression", "price", ())
    assert project.settings["columns"] == [
        {"name": "longitude", "kind": "number", "longitude": True},
        {"name": "kind", "kind": "category"},
    ]
    by_value = {view.given_value: view.fields for view in views(engine, "homes")}
    assert all(
        f == {"longitude": v / 900, "kind": "abc"[int(v / 100) % 3]} for v, f in by_value.items()
    )


def test_a_report_is_plain_json(engine, own, tmp_path):
    report = run(engine, own, texts(tmp_path / "t.csv", extra=",good\n"))
    answer = json.loads(json.dumps(report.to_json()))
    assert answer["problem_counts"] == {"empty text": 1}
    assert answer["refused"][0]["row"] == 42


# Growth


def test_growth_adds_what_is_new_and_keeps_positions_keys_and_decisions(engine, own, tmp_path):
    run(engine, own, texts(tmp_path / "t.csv", 40))
    project = get_project(engine, "mine")
    before = read_keys(engine, project.id)
    example = views(engine)[3]
    record_decision(
        engine,
        NewDecision(example_id=example.id, expected_version=0, reviewer="ann", action="exclude"),
    )
    report = run(engine, own, texts(tmp_path / "t.csv", 60, extra="a brand new text,awful\n"))
    assert not report.created
    assert (report.skipped_known, sum(report.added.values())) == (40, 21)
    assert report.classes_added == ("awful",)
    after = read_keys(engine, project.id)
    assert {key: after[key] for key in before} == before
    assert get_project(engine, "mine").classes == ("bad", "good", "awful")
    assert get_example(engine, example.id, None).status == "excluded"
    for split, count in next_positions(engine, project.id).items():
        assert sorted(p for s, p in after.values() if s == split) == list(range(count))
    assert len(get_project(engine, "mine").settings["imports"]) == 2


def test_the_same_data_again_adds_nothing(engine, own, tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    run(engine, own, root)
    before = files_of(own)
    report = run(engine, own, root)
    assert (report.skipped_known, sum(report.added.values())) == (6, 0)
    assert files_of(own) == before


def test_new_pictures_come_beside_the_old_ones(engine, own, tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    run(engine, own, root)
    (root / "dog" / "new.png").write_bytes(picture(70))
    assert run(engine, own, root).added == {"train": 1, "test": 0}
    paths = [v.media_path for v in views(engine)]
    assert paths[-1].startswith("import-0002/")
    assert all((own.media_folder("mine") / path).is_file() for path in paths)


def test_columns_that_were_named_are_recalled(engine, own, tmp_path):
    data = pd.DataFrame({"said": [f"some words {n}" for n in range(30)], "mood": ["a", "b"] * 15})
    data.assign(mark=range(30)).to_csv(tmp_path / "d.csv", index=False)
    run(engine, own, tmp_path / "d.csv", text="said", label="mood", key="mark")
    more = data.assign(mark=range(20, 50))
    more.to_parquet(tmp_path / "more.parquet")
    report = run(engine, own, tmp_path / "more.parquet")
    assert (report.skipped_known, sum(report.added.values())) == (10, 20)
    with pytest.raises(InputError, match="named by the column 'mark', not by 'said'"):
        run(engine, own, tmp_path / "more.parquet", key="said", text="mood", label="said")


def test_few_new_rows_are_read_with_the_kinds_that_the_project_has(engine, own, tmp_path):
    data = pd.DataFrame(
        {"size": [n % 7 for n in range(40)], "code": [f"c{n % 3}" for n in range(40)]}
    )
    data["extra"], data["label"] = [n / 7 for n in range(40)], ["x", "y"] * 20
    data.to_csv(tmp_path / "d.csv", index=False)
    run(engine, own, tmp_path / "d.csv")
    few = pd.DataFrame({"size": ["", 3], "code": ["7", "8"], "extra": ["", 5], "label": ["x", "y"]})
    few.to_csv(tmp_path / "few.csv", index=False)
    run(engine, own, tmp_path / "few.csv")
    fields = [view.fields for view in views(engine)][-2:]
    assert fields == [
        {"size": None, "code": "7", "extra": None},
        {"size": 3, "code": "8", "extra": 5},
    ]


def test_other_columns_kinds_and_projects_are_refused(engine, own, tmp_path):
    run(engine, own, texts(tmp_path / "t.csv"))
    with pytest.raises(InputError, match=r"holds text examples.*image examples"):
        run(engine, own, image_folder(tmp_path / "pets", pets()))
    create_project(engine, slug="demo", title="D", kind="text", classes=("a", "b"))
    with pytest.raises(InputError, match="was not made by an import"):
        run(engine, own, tmp_path / "t.csv", "demo")
    with pytest.raises(InputError, match="lower-case letters"):
        run(engine, own, tmp_path / "t.csv", "My Project")


def test_a_label_that_changed_is_reported_and_not_overwritten(engine, own, tmp_path):
    path = texts(tmp_path / "t.csv")
    run(engine, own, path)
    path.write_text(path.read_text().replace("number 3 is this,good", "number 3 is this,bad"))
    report = run(engine, own, path)
    assert report.problem_counts == {"changed in the data": 1}
    labels = {
        v.text: v.given_label for split in ("train", "test") for v in views(engine, split=split)
    }
    assert labels["the text of number 3 is this"] == 1


# Planted errors and truth


def test_planted_errors_are_in_the_truth_and_growth_does_not_take_them_for_changes(
    engine, own, tmp_path
):
    path = texts(tmp_path / "t.csv", 100)
    report = run(engine, own, path, plant=0.2)
    assert report.num_planted == 16
    truth = read_truth(own.truth_path("mine"))
    planted = read_planted(own.truth_path("mine"))
    assert len(truth) == 80
    given = {view.key: view.given_label for view in views(engine)}
    assert {key for key in truth if truth[key] != given[key]} == set(planted)
    assert len(planted) == 16
    report = run(engine, own, texts(tmp_path / "t.csv", 120))
    assert report.problem_counts == {}
    assert sum(report.added.values()) == 20
    assert read_planted(own.truth_path("mine")) == planted


def test_planted_numbers_keep_what_they_were(engine, own, tmp_path):
    data = pd.DataFrame(
        {"x": range(100), "z": [n % 7 for n in range(100)], "y": [n / 3 for n in range(100)]}
    )
    data.to_csv(tmp_path / "d.csv", index=False)
    run(engine, own, tmp_path / "d.csv", target="y", plant=0.1)
    true = read_true_values(own.truth_path("mine"))
    given = {view.key: view.given_value for view in views(engine)}
    assert sum(true[key] != given[key] for key in true) == 8
    fields = {view.key: view.fields for view in views(engine)}
    assert all(true[key] == pytest.approx(fields[key]["x"] / 3) for key in true)


def test_the_truth_of_grown_data_is_added(engine, own, tmp_path):
    for count in (20, 30):
        data = pd.DataFrame({"text": [f"a text, number {n}" for n in range(count)]})
        data["label"], data["gold"] = ["a", "b"] * (count // 2), ["a"] * count
        data.to_csv(tmp_path / "d.csv", index=False)
        run(engine, own, tmp_path / "d.csv", truth="gold")
    truth = read_truth(own.truth_path("mine"))
    assert len(truth) == 30
    assert set(truth.values()) == {0}


# What stops an import leaves nothing


def test_strict_refuses_any_problem(engine, own, tmp_path):
    path = texts(tmp_path / "t.csv", extra=",good\n")
    with pytest.raises(InputError, match=r"1 problem: empty text \(1\).*row 42.*--strict"):
        run(engine, own, path, strict=True)
    assert list_projects(engine) == []
    assert run(engine, own, path).num_refused == 1


def test_a_job_imports_strictly_if_it_is_told_to(engine, own, tmp_path):
    path = texts(tmp_path / "t.csv", extra=",good\n")
    options = {"path": str(path), "strict": True}
    place = {"engine": engine, "workspace": own, "slug": "mine"}
    with pytest.raises(InputError, match=r"1 problem: empty text"):
        find_task("import").work(TaskContext(**place, options=options, on_progress=ignore_progress))
    assert list_projects(engine) == []


class StopError(Exception):
    pass


@pytest.mark.parametrize("stage", ["reading", "writing", "entering"])
@pytest.mark.parametrize("grows", [False, True])
def test_a_cancelled_import_leaves_nothing(engine, own, tmp_path, stage, grows):
    root = image_folder(tmp_path / "pets", pets())
    if grows:
        run(engine, own, root)
        image_folder(root / "cat", [f"more{n}.png" for n in range(9)])
        for n in range(9):
            (root / "cat" / f"more{n}.png").write_bytes(picture(100 + n))
    before = files_of(own) if grows else set()

    def cancel(report: Progress) -> None:
        if report.stage.startswith(stage):
            raise StopError

    with pytest.raises(StopError):
        run(engine, own, root, on_progress=cancel)
    assert files_of(own) == before
    assert len(list_projects(engine)) == grows
    assert sum(run(engine, own, root).added.values()) == (9 if grows else 6)


def test_data_that_changes_while_it_is_read_is_noticed(engine, own, tmp_path):
    path = texts(tmp_path / "t.csv")

    def change(report: Progress) -> None:
        if report.stage.startswith("reading") and report.done == report.total:
            path.write_text(path.read_text().replace("number 7", "number seven"))

    with pytest.raises(InputError, match="row 9 is no longer the same"):
        run(engine, own, path, on_progress=change)
    assert list_projects(engine) == []
    assert files_of(own) == set()


def test_a_full_disk_is_said_and_leaves_nothing(engine, own, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device", "picture.png")

    monkeypatch.setattr(import_files.Staging, "store_image", fail)
    with pytest.raises(WorkspaceError, match="disk is full"):
        run(engine, own, image_folder(tmp_path / "pets", pets()))
    assert files_of(own) == set()
    assert list_projects(engine) == []


def test_a_database_that_refuses_leaves_no_files(engine, own, tmp_path, monkeypatch):
    def fail(*arguments, **named):
        raise InputError("no")

    monkeypatch.setattr("relabel.importers.ingest.project.enter_project", fail)
    with pytest.raises(InputError):
        run(engine, own, image_folder(tmp_path / "pets", pets()), plant=0.3)
    assert files_of(own) == set()


def test_files_of_another_database_are_not_touched(engine, own, tmp_path):
    path = own.project_folder("mine") / "runs" / "a" / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(WorkspaceError, match="holds runs of a project"):
        run(engine, own, texts(tmp_path / "t.csv"))
    assert path.exists()


BUSY = 300  # seconds until a command hangs; importing torch alone took two minutes once


def start_import(
    preloaded: Preloaded, own: Workspace, path: Path, *options: str
) -> PreloadedProcess:
    place = ("--workspace", str(own.root))
    return preloaded.start("-m", "relabel", *place, "import", "mine", str(path), "--yes", *options)


def kill_at(process: PreloadedProcess, words: str, delay: float) -> None:
    for line in process.stderr:
        if words in line:
            break
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=BUSY)


# A moment after a stage began; the last ones fall into placing the files and the transaction.
KILLS = [
    ("writing the examples ...", 0.05),
    ("entering the examples ...", 0.0),
    ("entering the examples ...", 0.03),
]


@pytest.mark.slow
def test_a_killed_import_is_invisible_and_the_next_one_cleans_up(preloaded, own, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1600, 12, 12), dtype=np.uint8)
    labels = np.arange(1600) % 4
    path = tmp_path / "data.npz"
    np.savez(path, x=pixels[:800], y=labels[:800])
    for words, delay in KILLS:
        kill_at(start_import(preloaded, own, path, "--plant", "0.1"), words, delay)
        check_whole(own, 800)
    finish(preloaded, own, path, "--plant", "0.1")
    check_whole(own, 800)
    np.savez(path, x=pixels, y=labels)
    for words, delay in KILLS:
        kill_at(start_import(preloaded, own, path), words, delay)
        check_whole(own, 800, 1600)
    finish(preloaded, own, path)
    check_whole(own, 1600)
    folders = {name.split("/")[1] for name in files_of(own) if name.startswith("media/")}
    assert folders == {"import-0001", "import-0002"}
    assert not (own.project_folder("mine") / import_files.STAGING).exists()


def finish(preloaded: Preloaded, own: Workspace, path: Path, *options: str) -> None:
    done = start_import(preloaded, own, path, *options)
    try:
        _, errors = done.communicate(timeout=BUSY)
    finally:
        done.kill()
    assert done.returncode == 0, errors


def check_whole(own: Workspace, *counts: int) -> None:
    """Check that there is no project, or one with all examples and all their pictures."""
    engine = open_database(own.database_url)
    try:
        if not list_projects(engine):
            return
        found = [view for split in ("train", "test") for view in views(engine, split=split)]
        assert len(found) in counts
        assert all((own.media_folder("mine") / view.media_path).is_file() for view in found)
    finally:
        engine.dispose()


def test_what_a_killed_import_left_elsewhere_is_removed_by_the_next(engine, own, tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    left = own.project_folder("gone")
    with import_files.open_staging(own, "gone") as staging:
        staging.store_image(b"x", "ab" * 16, ".png")
        (left / "media" / "import-0001").mkdir(parents=True)
        (left / "media" / "import-0001" / "x.png").write_bytes(b"x")
        left.rename(left.with_name("killed"))
        left = left.with_name("killed")
    other = own.project_folder("other")
    (other / import_files.STAGING).mkdir(parents=True)
    (other / import_files.STAGING / "owner.json").write_text('{"database": "another"}')
    run(engine, own, root)
    assert files_of(own, "killed") == set()
    assert files_of(own, "other") == {f"{import_files.STAGING}/owner.json"}


@pytest.mark.parametrize("owner", [None, "", "{"])
def test_a_kill_before_or_after_the_owner_is_written_leaves_nothing_for_long(
    engine, own, tmp_path, owner
):
    run(engine, own, image_folder(tmp_path / "pets", pets()))
    before = files_of(own)
    staging = own.project_folder("mine") / import_files.STAGING
    staging.mkdir()
    if owner is not None:
        (staging / "owner.json").write_text(owner)
    run(engine, own, tmp_path / "pets")  # nothing new: no staging of its own
    assert files_of(own) == before
    assert not staging.exists()


def test_work_of_an_unknown_owner_is_not_touched(engine, own, tmp_path):
    staging = own.project_folder("other") / import_files.STAGING
    staging.mkdir(parents=True)
    (staging / "examples.jsonl").write_text("{}")
    run(engine, own, image_folder(tmp_path / "pets", pets()))
    assert files_of(own, "other") == {f"{import_files.STAGING}/examples.jsonl"}


def test_a_removal_that_was_cut_short_is_still_known_as_ours(own, monkeypatch):
    def fail(path, ignore_errors=False):
        raise KeyboardInterrupt

    with import_files.open_staging(own, "mine") as staging:
        staging.store_image(b"x", "ab" * 16, ".png")
        monkeypatch.setattr(import_files.shutil, "rmtree", fail)
        with pytest.raises(KeyboardInterrupt):
            import_files._remove_staging(staging.folder)
        monkeypatch.undo()
        assert (staging.folder / "owner.json").is_file()


# The command


def command(own: Workspace, *words: str) -> int:
    return main(["--workspace", str(own.root), "import", *words])


def test_the_command_shows_a_preview_and_imports(own, tmp_path, capsys):
    path = texts(tmp_path / "t.csv", extra=",good\nthe text of number 3 is this,bad\n")
    assert command(own, "mine", str(path), "--plant", "0.1") == 0
    shown = capsys.readouterr().out
    for words in (
        *("table, text, classification: label", "bad (20), good (20)", "32 / 8"),
        *("text", "row 42", "is empty. Fill it in", "label conflict", "row 43", "row 5"),
        *("--text, --image or --features", "3 of 32 train labels are made wrong on purpose"),
        *("imported 32 train and 8 test examples", "Next: python -m relabel train mine"),
    ):
        assert words in shown


def test_a_preview_writes_nothing(own, tmp_path, capsys):
    assert command(own, "mine", str(texts(tmp_path / "t.csv")), "--preview") == 0
    assert "Nothing was imported" in capsys.readouterr().out
    assert not (own.root / "projects").exists()


def test_the_preview_of_growth_says_what_is_known(own, tmp_path, capsys):
    assert command(own, "mine", str(texts(tmp_path / "t.csv"))) == 0
    path = texts(tmp_path / "t.csv", 50, extra="something,awful\n")
    assert command(own, "mine", str(path)) == 0
    shown = capsys.readouterr().out
    assert "there already" in shown
    assert "new classes" in shown
    assert "40 were there already" in shown
    assert "New classes: awful" in shown


def test_a_person_is_asked_and_may_decline(own, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    path = str(texts(tmp_path / "t.csv"))
    assert command(own, "mine", path) == 0
    assert "Nothing was imported" in capsys.readouterr().out
    assert command(own, "mine", path, "--yes") == 0
    assert "imported 32" in capsys.readouterr().out


def test_lists_may_hold_commas_in_quotes(own, tmp_path, capsys):
    path = tmp_path / "d.csv"
    path.write_text("text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(20)))
    assert command(own, "mine", str(path), "--classes", '"yes, please",no') == 0
    assert "yes, please (10), no (10)" in capsys.readouterr().out


def test_bad_data_is_one_message(own, tmp_path, capsys):
    assert command(own, "mine", str(tmp_path / "missing")) == 2
    assert "does not exist" in capsys.readouterr().err
    assert command(own, "mine", str(texts(tmp_path / "t.csv")), "--label", "labbel") == 2
    assert "Did you mean 'label'?" in capsys.readouterr().err


def test_the_formats_of_the_command_are_those_of_the_sources():
    option = next(p for p in import_data.params if p.name == "format")
    assert isinstance(option.type, click.Choice)
    assert option.type.choices == tuple(IMPORTERS)
    names = (
        *("image-folder", "text-folder", "table", "arrow", "excel", "huggingface"),
        *("label-studio", "doccano", "prodigy", "coco", "torchvision", "npz"),
    )
    assert tuple(IMPORTERS) == names


def test_hostile_names_cannot_steer_the_terminal(own, tmp_path, capsys):
    path = tmp_path / "d.csv"
    path.write_text(
        "text,label\n" + "".join(f"te\x1b[2Jxt {n},[red]\x1b[31m{n % 2}\n" for n in range(20))
    )
    assert command(own, "mine", str(path)) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[red]" in shown


def test_every_option_is_documented():
    own_options = [p for p in import_data.params if isinstance(p, click.Option) and p.expose_value]
    options = [option.opts[-1] for option in own_options]
    assert "--truth" in options
    text = (REPOSITORY_ROOT / "docs" / "importing.md").read_text("utf-8")
    table = text[text.index("## All options") : text.index("## What is refused")]
    assert [name for name in options if f"`{name}`" not in table] == []


def test_the_example_of_the_documentation_says_what_it_shows(own, tmp_path, capsys):
    text = (REPOSITORY_ROOT / "docs" / "importing.md").read_text("utf-8")
    rows = ["7,Exactly as described,good", "8,Would not buy again,bad", "9,Still happy,good"]
    rows += ["10,The lid never closed,bad", "11,Quick and quiet,good", "12,Too small,bad"]
    shown = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    table = shown[shown.index("id,review,sentiment") : shown.index("...")]
    (tmp_path / "reviews.csv").write_text("\n".join([*table, *rows]) + "\n")
    assert command(own, "kettles", str(tmp_path / "reviews.csv")) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in shown[shown.index("python -m relabel import kettles reviews.csv") + 1 :][:9]:
        assert " ".join(words.replace("...", "").split()) in printed
