"""A file is opened once for its preview and once for its import, which does not survey it again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from relabel.db.bulk import next_positions
from relabel.db.engine import open_database
from relabel.db.examples import find_by_positions
from relabel.db.projects import get_project
from relabel.db.schema import ExampleRow
from relabel.importers.columns.profiles import PROFILED_ROWS
from relabel.importers.detect import open_source
from relabel.importers.files import encoding
from relabel.importers.files.shared import open_file, read_state, share_open_files
from relabel.importers.ingest import project as project_module
from relabel.importers.ingest.kept_plans import (
    keep_plan,
    make_place,
    recall_plan,
    remove_abandoned_plans,
)
from relabel.importers.ingest.planned import survey_data
from relabel.importers.ingest.project import FILE_CHANGED, import_project
from relabel.importers.options import ImportOptions
from relabel.importers.preview import preview_apart, preview_import, survey_for
from relabel.importers.records import SourceRecord
from relabel.jobs.launch import run_job_inline
from relabel.workspace import REPOSITORY_ROOT, resolve_workspace
from tests.relabel.importers.ingest.opens import counted_opens

linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
Writer = Callable[[Path, list[dict[str, str]]], None]


def make_rows(number: int = 300, *, seed: int = 0) -> list[dict[str, str]]:
    chance = random.Random(seed)
    words = [f"word{n}" for n in range(500)]
    return [
        {
            "text": " ".join(chance.choices(words, k=12)),
            "label": chance.choice("abc"),
            "split": "test" if n % 5 == 0 else "train",
        }
        for n in range(number)
    ]


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    pd.DataFrame(rows).to_csv(path, index=False)


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_array(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text(json.dumps(rows))


def write_parquet(path: Path, rows: list[dict[str, str]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


FORMS: dict[str, Writer] = {
    "data.csv": write_csv,
    "data.csv.gz": write_csv,
    "data.jsonl": write_lines,
    "data.json": write_array,
    "data.parquet": write_parquet,
}


@pytest.fixture
def own(tmp_path):
    workspace = resolve_workspace(tmp_path / "work")
    workspace.prepare()
    return workspace


@pytest.fixture
def engine(own):
    engine = open_database(own.database_url)
    yield engine
    engine.dispose()


def forbid(monkeypatch, *names: str) -> None:
    """Let the import fail where it reads or plans again."""

    def fail(*args, **kwargs):
        raise AssertionError("the data was surveyed or planned again")

    for name in names:
        monkeypatch.setattr(project_module, name, fail)


@linux
def test_openings_are_counted_whoever_opens(tmp_path):
    path = tmp_path / "data.parquet"
    write_parquet(path, make_rows(5))
    with counted_opens(path) as opens:
        with path.open("rb") as file:
            file.read(3)
        pq.read_table(pa.OSFile(str(path)))
        pd.read_parquet(path)
        subprocess.run(["/bin/cat", str(path)], check=True, stdout=subprocess.DEVNULL)
        os.close(os.open(path, os.O_RDONLY))
    assert opens.count >= 5


@linux
@pytest.mark.parametrize("name", FORMS)
def test_a_page_opens_a_file_once_to_show_it_and_once_to_import_it(
    name, tmp_path, own, engine, monkeypatch
):
    path = tmp_path / name
    FORMS[name](path, make_rows())
    with counted_opens(path) as opens:
        found = preview_apart(path, ImportOptions(), rows=20, keep_in=own)
    assert opens.count == 1
    assert found.kept is not None
    forbid(monkeypatch, "survey_for", "plan_import")
    options = {"path": str(path), "options": found.preview.options.to_json()}
    with counted_opens(path) as opens:
        job = run_job_inline(
            engine, own, "mine", "import", {**options, "kept_plan": str(found.kept.path)}
        )
    assert opens.count == 1
    assert job.result["added"] == found.preview.counts
    assert job.result["notes"] == []


@linux
@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_the_command_opens_a_file_once_to_show_it_and_once_to_import_it(name, tmp_path, own):
    path = tmp_path / name
    FORMS[name](path, make_rows())
    command = [sys.executable, "-m", "relabel", "import", "mine", str(path), "--yes"]
    environment = os.environ | {"TRACIN_WORKSPACE": str(own.root)}
    with counted_opens(path) as opens:
        done = subprocess.run(
            command, cwd=REPOSITORY_ROOT, env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert "imported" in done.stdout
    assert opens.count == 2


def test_an_import_carries_out_the_plan_that_was_shown(tmp_path, own, engine, monkeypatch):
    path = tmp_path / "data.csv"
    write_csv(path, make_rows())
    surveyed = survey_for(engine, "mine", path, ImportOptions())
    _, planned = preview_import(engine, own, "mine", surveyed)
    forbid(monkeypatch, "survey_for", "plan_import")
    report = import_project(engine, own, "mine", path, ImportOptions(), planned=planned)
    assert report.added == planned.plan.counts()
    assert report.notes == ()


def plan_at(engine, own, path, file, slug="mine", **said):
    """Preview in this process as a page does in another one, and keep the plan."""
    surveyed = survey_for(engine, slug, path, ImportOptions(**said), rows=5)
    preview, planned = preview_import(engine, own, slug, surveyed)
    assert keep_plan(planned, path, file)
    return preview, planned


def import_kept(engine, own, path, preview, file, slug="mine"):
    return import_project(engine, own, slug, path, preview.options, kept_plan=file)


def texts_of(engine, slug="mine"):
    project = get_project(engine, slug)
    count = next_positions(engine, project.id)["train"]
    found = find_by_positions(engine, project.id, None, "train", range(count))
    return [(example.text, example.given_label) for example in found]


@pytest.mark.parametrize("name", FORMS)
def test_a_kept_plan_imports_what_reading_it_again_would(name, tmp_path, own, engine):
    path = tmp_path / name
    rows = make_rows()
    rows += [*rows[:7], {"text": "no label", "label": "", "split": "train"}]
    FORMS[name](path, rows)
    preview, _ = plan_at(engine, own, path, tmp_path / "plan.npz", plant=0.1, seed=4)
    report = import_kept(engine, own, path, preview, tmp_path / "plan.npz").to_json()
    plain = import_project(engine, own, "plain", path, ImportOptions(plant=0.1, seed=4)).to_json()
    differ = ("slug", "seconds")
    assert {k: v for k, v in report.items() if k not in differ} == {
        k: v for k, v in plain.items() if k not in differ
    }
    assert report["duplicates"] == 7
    assert report["num_refused"] == 1
    assert texts_of(engine) == texts_of(engine, "plain")
    one, other = (get_project(engine, slug) for slug in ("mine", "plain"))
    assert one.classes == other.classes
    assert one.settings["options"] == other.settings["options"]
    assert own.truth_path("mine").read_bytes() == own.truth_path("plain").read_bytes()


def test_a_file_that_was_written_to_is_planned_anew_and_said(tmp_path, own, engine):
    path, file = tmp_path / "data.csv", tmp_path / "plan.npz"
    write_csv(path, make_rows(100))
    preview, planned = plan_at(engine, own, path, file)
    write_csv(path, make_rows(160, seed=1))
    kept = import_kept(engine, own, path, preview, file)
    shown = import_project(engine, own, "shown", path, ImportOptions(), planned=planned)
    for report in (kept, shown):
        assert sum(report.added.values()) == 160
        assert report.notes == (FILE_CHANGED,)
        assert FILE_CHANGED in report.to_json()["notes"]
    assert texts_of(engine) == texts_of(engine, "shown")


def test_a_file_of_the_same_size_and_another_time_has_changed(tmp_path, own, engine):
    path, file = tmp_path / "data.csv", tmp_path / "plan.npz"
    write_csv(path, make_rows(100))
    preview, _ = plan_at(engine, own, path, file)
    before = path.stat()
    path.write_text(path.read_text().replace("word1 ", "word2 "))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    assert import_kept(engine, own, path, preview, file).notes == (FILE_CHANGED,)


def test_a_plan_by_other_options_is_not_used(tmp_path, own, engine):
    path, file = tmp_path / "data.csv", tmp_path / "plan.npz"
    write_csv(path, make_rows(100))
    plan_at(engine, own, path, file)
    said = ImportOptions(text="text", label="split")
    report = import_project(engine, own, "mine", path, said, kept_plan=file)
    assert report.notes == ()
    assert get_project(engine, "mine").classes == ("test", "train")


def test_a_plan_of_another_file_is_not_used(tmp_path, own, engine):
    path, other, file = tmp_path / "data.csv", tmp_path / "other.csv", tmp_path / "plan.npz"
    write_csv(path, make_rows(100))
    write_csv(other, make_rows(60, seed=2))
    preview, _ = plan_at(engine, own, path, file)
    report = import_kept(engine, own, other, preview, file)
    assert (sum(report.added.values()), report.notes) == (60, ())


@pytest.mark.parametrize("damage", [b"", b"PK nothing", None])
def test_a_plan_that_is_lost_or_damaged_costs_a_reading(damage, tmp_path, own, engine):
    path, file = tmp_path / "data.csv", tmp_path / "plan.npz"
    write_csv(path, make_rows(100))
    preview, _ = plan_at(engine, own, path, file)
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    assert sum(import_kept(engine, own, path, preview, file).added.values()) == 100


def test_no_damage_of_a_plan_is_more_than_another_reading(tmp_path, own, engine):
    path, file = tmp_path / "data.csv", tmp_path / "plan.npz"
    write_csv(path, make_rows(100))
    preview, _ = plan_at(engine, own, path, file)
    sound, draw = file.read_bytes(), random.Random(0)
    recalled = set()
    for _ in range(200):
        damaged = bytearray(sound)
        damaged[draw.randrange(len(sound))] ^= 1 << draw.randrange(8)
        file.write_bytes(bytes(damaged[: draw.choice([len(sound), draw.randrange(len(sound))])]))
        plan = recall_plan(file, path, preview.options, lambda by: open_source(path, by))
        recalled.add(plan.planned is None)
    assert True in recalled


def test_growth_is_planned_anew_if_the_project_has_grown_meanwhile(tmp_path, own, engine):
    first, path, file = tmp_path / "first.csv", tmp_path / "data.csv", tmp_path / "plan.npz"
    rows = make_rows(120)
    write_csv(first, rows[:60])
    write_csv(path, rows)
    import_project(engine, own, "mine", first, ImportOptions())
    preview, planned = plan_at(engine, own, path, file)
    assert (planned.plan.num_known, preview.num_usable) == (60, 60)
    write_csv(first, rows[60:100])
    import_project(engine, own, "mine", first, ImportOptions())
    report = import_kept(engine, own, path, preview, file)
    assert (report.skipped_known, sum(report.added.values())) == (100, 20)


def test_growth_carries_out_what_was_shown(tmp_path, own, engine, monkeypatch):
    first, path, file = tmp_path / "first.csv", tmp_path / "data.csv", tmp_path / "plan.npz"
    rows = make_rows(120)
    write_csv(first, rows[:60])
    write_csv(path, rows)
    import_project(engine, own, "mine", first, ImportOptions())
    preview, _ = plan_at(engine, own, path, file)
    forbid(monkeypatch, "survey_for", "plan_import")
    report = import_kept(engine, own, path, preview, file)
    assert (report.skipped_known, sum(report.added.values())) == (60, 60)


def test_pictures_and_folders_keep_no_plan(tmp_path, own):
    folder = tmp_path / "texts"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for n in range(5):
            (folder / name / f"{n}.txt").write_text(f"text {n} of {name}")
    found = preview_apart(folder, ImportOptions(), rows=1, keep_in=own)
    assert found.kept is None
    assert not list((own.root / "plans").iterdir())


def test_where_no_plan_can_be_kept_the_data_is_shown(tmp_path, own):
    path = tmp_path / "data.csv"
    write_csv(path, make_rows(60))
    (own.root / "plans").write_text("a file in the place of the folder")
    found = preview_apart(path, ImportOptions(), rows=1, keep_in=own)
    assert found.kept is None
    assert found.preview.num_usable == 60


def test_a_kept_plan_goes_with_its_preview(tmp_path, own):
    path = tmp_path / "data.csv"
    write_csv(path, make_rows(60))
    found = preview_apart(path, ImportOptions(), rows=1, keep_in=own)
    assert found.kept is not None
    folder = found.kept.path.parent
    os.utime(folder, (0, 0))  # as long ago as any rule of time could ask for
    assert remove_abandoned_plans(own) == []
    assert found.kept.path.is_file()
    del found
    assert not folder.exists()


def test_the_plans_of_killed_servers_are_removed(own):
    plan = make_place(own)
    assert plan is not None
    folder = plan.path.parent
    (plan.path).write_bytes(b"left over")
    plan.remove.detach()[2][1].release()  # as the system releases a killed process's lock
    os.utime(folder, (0, 0))
    assert remove_abandoned_plans(own) == [folder]


GUESSED = 1 << 17  # bytes, a 32nd of what is looked at otherwise


@pytest.fixture
def short_guesses(monkeypatch):
    monkeypatch.setattr(encoding, "GUESSED_FROM", GUESSED)


def write_long(path: Path, tail: bytes) -> None:
    """Write a table that is plain until far behind what a guess looks at."""
    lines = [f"{n} {'x' * 200},{'ab'[n % 2]}\n" for n in range(GUESSED // 60)]
    path.write_bytes(b"text,label\n" + "".join(lines).encode() + tail)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        "größer,a\n".encode(),
        "größer,a\n".encode("cp1252"),
        "größer,a\n".encode() + "viel größer,b\n".encode("cp1252"),
        "größer,a\ngro\u00df".encode()[:-1],
    ],
    ids=["ascii", "utf-8", "cp1252", "both", "cut off"],
)
def test_an_encoding_that_shows_far_down_is_found_as_by_reading_all_first(
    tail, tmp_path, short_guesses
):
    path = tmp_path / "data.csv"
    write_long(path, tail)
    supposed = survey_data(path, ImportOptions(), lambda: open_source(path, ImportOptions()))
    source = open_source(path, ImportOptions())
    assert supposed.source.notes == source.notes
    records = list(source.records())
    assert list(supposed.source.records()) == records
    assert len(supposed.survey) == sum(isinstance(one, SourceRecord) for one in records)


def test_a_plain_file_is_read_to_its_end_once_for_its_survey(tmp_path, monkeypatch, short_guesses):
    path = tmp_path / "data.csv"
    short = [f"{n},{'ab'[n % 2]}\n" for n in range(PROFILED_ROWS)]
    long = [f"{n} {'x' * 60},{'ab'[n % 2]}\n" for n in range(5000)]
    path.write_text("".join(["text,label\n", *short, *long]))
    # Behind what tells the encoding and the columns, and before what tells that it is no archive.
    probed = path.stat().st_size - 2**17
    times = 0
    plain = os.pread

    def count(descriptor: int, length: int, place: int) -> bytes:
        nonlocal times
        data = plain(descriptor, length, place)
        times += place <= probed < place + len(data)
        return data

    monkeypatch.setattr(os, "pread", count)
    options = ImportOptions(text="text")
    survey_data(path, options, lambda: open_source(path, options))
    assert times == 1


def test_readings_that_share_a_file_do_not_move_each_other(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(bytes(range(256)) * 4096)
    with share_open_files(), open_file(path) as one, open_file(path) as other:
        assert one.read(3) == b"\0\1\2"
        assert other.read(2) == b"\0\1"
        assert one.read(1) == b"\3"
        assert other.seek(-1, os.SEEK_END) == 256 * 4096 - 1
        assert (other.read(), other.read()) == (b"\xff", b"")


def test_a_file_that_takes_the_name_of_another_is_opened(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("old")
    with share_open_files():
        with open_file(path) as file:
            assert file.read() == b"old"
        (tmp_path / "new.txt").write_text("new")
        (tmp_path / "new.txt").replace(path)
        with open_file(path) as file:
            assert file.read() == b"new"


def test_no_file_stays_open_after_the_block(tmp_path):
    paths = [tmp_path / f"{n}.txt" for n in range(20)]
    for path in paths:
        path.write_text("text")
    before = len(list(Path("/dev/fd").iterdir()))
    with share_open_files():
        for path in paths:
            with open_file(path) as file:
                file.read()
        assert len(list(Path("/dev/fd").iterdir())) < before + 10
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_folder_has_no_state(tmp_path):
    assert read_state(tmp_path) is None
    assert read_state(tmp_path / "missing") is None


@pytest.mark.parametrize("how", ["written over", "replaced"])
def test_a_file_whose_time_was_set_back_has_changed(how, tmp_path, own, engine):
    path, other = tmp_path / "data.csv", tmp_path / "other.csv"
    rows = make_rows()
    write_csv(path, rows)
    shown = preview_apart(path, ImportOptions(), rows=3, keep_in=own)
    assert shown.kept is not None
    before = path.stat()
    for row in rows[200:]:
        row["label"] = {"a": "b", "b": "c", "c": "a"}[row["label"]]
    target = path if how == "written over" else other
    write_csv(target, rows)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    if how == "replaced":
        target.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    options, kept = shown.preview.options, shown.kept.path
    report = import_project(engine, own, "own", path, options, kept_plan=kept, seen=shown.state)
    assert FILE_CHANGED in report.notes
    project = get_project(engine, "own")
    wanted = {row["text"]: row["label"] for row in rows}
    with engine.connect() as connection:
        found = connection.execute(select(ExampleRow.text, ExampleRow.given_label)).all()
    assert {text: project.classes[label] for text, label in found} == wanted
