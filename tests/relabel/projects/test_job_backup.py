"""A project in one file and back: nothing lost, nothing believed, nothing half there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from relabel.db.engine import open_database
from relabel.db.jobs import create_job, finish_job
from relabel.db.projects import get_project, hide_project, list_hidden_projects, list_projects
from relabel.errors import NotFoundError, WorkspaceError
from relabel.export import export_labels
from relabel.projects.backup import backup_project
from relabel.projects.backup_file import FILES, MANIFEST, FileEntry
from relabel.projects.delete import MARK, finish_removals, mark_unfinished, remove_project
from relabel.projects.restore import read_manifest, restore_project
from tests.relabel.db.builders import build_scene
from tracin_core.errors import InputError


@pytest.fixture
def engine(place):
    engine = open_database(place.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def scene(engine, place):
    """Pictures that were reviewed a little, with files of every sort."""
    scene = build_scene(engine, kind="image")
    scene.decide(scene.train_ids[0], "relabel", new_label=2)
    folder = place.project_folder(scene.project.slug)
    for name in (
        *("media/train/0.png", "media/test/0.png", "runs/first/run.json", "truth.parquet"),
        *("training/abc/state.pt", "encoded/abc/inputs.bin", ".lock", "runs/.x.unfinished/a"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 10)
    (folder / "runs/first/checkpoints").mkdir()
    os.link(folder / "training/abc/state.pt", folder / "runs/first/checkpoints/step-1.pt")
    os.link(folder / "training/abc/state.pt", folder / "runs/first/checkpoints/step-2.pt")
    return scene


@pytest.fixture
def archive(scene, engine, place, tmp_path):
    return backup_project(engine, place, scene.project.slug, tmp_path / "pets.zip")


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def see_nothing_left(engine, place, before: set[str]) -> None:
    """Check that a restoration that failed has left no project, no rows and no files."""
    assert [project.slug for project in list_projects(engine)] == sorted(before)
    assert list_hidden_projects(engine) == []
    assert {path.name for path in (place.root / "projects").iterdir()} == before


# There and back


def test_what_is_needed_is_in_the_backup_and_what_is_made_again_is_not(
    archive, scene, engine, place
):
    restore_project(engine, place, archive, slug="again")
    folder = place.project_folder("again")
    assert files_of(folder) == {
        *("media/train/0.png", "media/test/0.png", "truth.parquet", "runs/first/run.json"),
        *("runs/first/checkpoints/step-1.pt", "runs/first/checkpoints/step-2.pt"),
    }
    for name in files_of(folder):
        source = place.project_folder(scene.project.slug) / name
        assert (folder / name).read_bytes() == source.read_bytes()
    checkpoints = folder / "runs/first/checkpoints"
    assert (checkpoints / "step-1.pt").samefile(checkpoints / "step-2.pt")


def test_trainings_are_in_it_on_request_and_stored_once(scene, engine, place, tmp_path):
    path = tmp_path / "all.zip"
    backup_project(engine, place, scene.project.slug, path, with_trainings=True)
    manifest = read_manifest(path)
    assert sorted(manifest.links.values()) == ["runs/first/checkpoints/step-1.pt"] * 2
    restore_project(engine, place, path, slug="again")
    state = place.project_folder("again") / "training/abc/state.pt"
    assert state.stat().st_nlink == 3


def test_the_manifest_tells_what_is_in_it(archive, scene):
    manifest = read_manifest(archive)
    assert (manifest.slug, manifest.title, manifest.kind) == (scene.project.slug, "Pets", "image")
    assert manifest.counts["example"] == 9
    assert manifest.counts["decision"] == 1


def test_a_project_of_the_name_is_not_replaced(archive, scene, engine, place):
    slug = scene.project.slug
    with pytest.raises(InputError, match="replaces nothing"):
        restore_project(engine, place, archive)
    remove_project(engine, place, slug)
    assert restore_project(engine, place, archive).slug == slug
    remove_project(engine, place, slug)
    place.project_folder(slug).mkdir()
    with pytest.raises(InputError, match="no project owns"):
        restore_project(engine, place, archive)
    with pytest.raises(InputError, match="lower-case"):
        restore_project(engine, place, archive, slug="../away")


def test_a_backup_that_cannot_be_written_leaves_the_old_one(scene, engine, place, tmp_path):
    path = tmp_path / "pets.zip"
    path.write_bytes(b"older")
    broken = place.project_folder(scene.project.slug) / "media/train/1.png"
    broken.write_bytes(b"x")

    def vanish(report: Any) -> None:
        if report.stage == "writing the files":
            broken.unlink(missing_ok=True)

    with pytest.raises(WorkspaceError, match=r"1\.png cannot be read"):
        backup_project(engine, place, scene.project.slug, path, on_progress=vanish)
    assert path.read_bytes() == b"older"
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".pets")] == []


# Damaged and hostile files


_numbers = count()
Change = Callable[[dict[str, bytes], dict[str, Any]], None]


def rewrite(archive: Path, change: Change, *, honest: bool = True, mode: int = 0o100644) -> Path:
    """Write the archive again with other contents; an honest one has their digests."""
    with zipfile.ZipFile(archive) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    manifest = json.loads(contents.pop(MANIFEST))
    change(contents, manifest)
    if honest:
        from hashlib import sha256

        manifest["entries"] = {
            name: vars(FileEntry(len(content), sha256(content).hexdigest()))
            for name, content in contents.items()
        }
    path = archive.with_name(f"changed-{next(_numbers)}.zip")
    with zipfile.ZipFile(path, "w") as target:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(info, content)
        target.writestr(MANIFEST, json.dumps(manifest))
    return path


def rows(contents: dict[str, bytes], table: str) -> list[list[Any]]:
    return [json.loads(line) for line in contents[f"rows/{table}.jsonl"].splitlines()]


def put_rows(contents: dict[str, bytes], table: str, values: list[list[Any]]) -> None:
    contents[f"rows/{table}.jsonl"] = "".join(json.dumps(row) + "\n" for row in values).encode()


def put_cell(table: str, column: str, value: Any) -> Change:
    def change(contents: dict[str, bytes], _: dict[str, Any]) -> None:
        values = rows(contents, table)
        values[1][values[0].index(column)] = value
        put_rows(contents, table, values)

    return change


def test_a_backup_made_before_places_were_kept_is_restored_without_them(archive, engine, place):
    def leave_places_out(contents: dict[str, bytes], _: dict[str, Any]) -> None:
        values = rows(contents, "example")
        at = values[0].index("source_place")
        put_rows(contents, "example", [row[:at] + row[at + 1 :] for row in values])

    older = rewrite(archive, leave_places_out)
    restored = restore_project(engine, place, older, slug="older")
    content = export_labels(engine, restored.id, format="jsonl").decode()
    assert {json.loads(line)["source_place"] for line in content.splitlines()} == {None}


def add_file(name: str) -> Change:
    return lambda contents, manifest: contents.update({name: b"evil"})


def test_an_archive_that_was_only_packed_anew_is_fine(archive, engine, place):
    again = rewrite(archive, lambda contents, manifest: None)
    assert restore_project(engine, place, again, slug="again").title == "Pets"


@pytest.mark.parametrize(
    "name",
    [
        *("files/../../evil", "/etc/evil", "files//evil", "files\\..\\evil", "files/c:evil"),
        *("files/./evil", f"files/{MARK}", ".hidden", "files/a/../../../evil"),
    ],
)
def test_a_path_that_could_lead_outside_is_refused(archive, scene, engine, place, tmp_path, name):
    with pytest.raises(InputError, match="outside the project's folder"):
        restore_project(engine, place, rewrite(archive, add_file(name)), slug="again")
    see_nothing_left(engine, place, {scene.project.slug})
    assert not list(tmp_path.parent.rglob("evil"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put_cell("example", "media_path", "../../etc/passwd"), "media path"),
        (put_cell("example", "given_label", 3), "Expected a class index from 0 to 2"),
        (put_cell("example", "given_label", "one"), "Expected a whole number"),
        (put_cell("example", "position", 2**40), "Expected a whole number"),
        (put_cell("example", "split", "middle"), "Expected train or test"),
        (put_cell("example", "key", None), "is empty"),
        (put_cell("example", "key", "train-1"), "contradicts itself"),
        (put_cell("example", "key", "nul\x00"), "NUL"),
        (put_cell("example", "fields", "text"), "Expected a list or an object"),
        (put_cell("run", "folder", "../../etc"), "in the folder"),
        (put_cell("run", "scoring_id", 99), "names the scoring 99"),
        (put_cell("checkpoint", "file", "/etc/passwd"), "outside the project's folder"),
        (put_cell("score", "example_id", 99), "names the example 99"),
        (put_cell("score", "value", "high"), "Expected a number"),
        (put_cell("prediction", "predicted_label", 7), "has the label 7"),
        (put_cell("decision", "new_label", 7), "has the label 7"),
        (put_cell("decision", "run_id", 99), "names the run 99"),
        (put_cell("decision", "action", "explode"), "contradicts itself"),
        (put_cell("decision", "undoes", 1), "names the decision 1"),
        (put_cell("decision", "created_at", "yesterday"), "Expected a date"),
        (put_cell("reviewer", "name", "ann\x1b[2J"), "control"),
        (put_cell("project", "kind", "sound"), "kind 'sound'"),
        (put_cell("project", "classes", ["a", "a"]), "different names"),
        (
            lambda contents, manifest: put_rows(
                contents, "project", [*rows(contents, "project"), rows(contents, "project")[1]]
            ),
            "several projects",
        ),
        (
            lambda contents, manifest: put_rows(contents, "score", [["scoring_id", "secret"]]),
            "does not know",
        ),
        (lambda contents, manifest: put_rows(contents, "score", []), "begin with its columns"),
        (lambda contents, manifest: put_rows(contents, "score", [["signal"], [1, 2]]), "1 values"),
        (
            lambda contents, manifest: contents.update({"rows/score.jsonl": b"[" * 10**6}),
            "is no JSON",
        ),
        (lambda contents, manifest: contents.pop("rows/decision.jsonl"), "is missing"),
        (add_file("files/media/train/0.png/x"), "cannot be made"),
        (add_file(f"files/{'x' * 300}"), "cannot be made"),
        (lambda contents, manifest: manifest.update(version=2), "update the program"),
        (lambda contents, manifest: manifest.update(format="tar"), "no backup of a project"),
        (lambda contents, manifest: manifest.update(links={"a": "files"}), "not there"),
        (lambda contents, manifest: manifest.update(links={"a": "../b"}), "outside"),
        (lambda contents, manifest: manifest.pop("links"), "cannot be read"),
    ],
)
def test_an_honest_looking_file_is_not_believed(archive, scene, engine, place, change, told):
    with pytest.raises(InputError, match=told):
        restore_project(engine, place, rewrite(archive, change), slug="again")
    see_nothing_left(engine, place, {scene.project.slug})


def test_a_changed_byte_a_link_and_a_cut_are_noticed(archive, scene, engine, place, tmp_path):
    name = f"{FILES}/media/train/0.png"

    def swap(contents: dict[str, bytes], _: dict[str, Any]) -> None:
        contents[name] = contents[name][::-1]

    def grow(contents: dict[str, bytes], _: dict[str, Any]) -> None:
        contents[name] += b"x"

    whole = archive.read_bytes()
    cut, scrap = tmp_path / "cut.zip", tmp_path / "scrap.zip"
    cut.write_bytes(whole[: len(whole) // 2])
    scrap.write_bytes(b"PK\x03\x04 and nothing more")
    flipped = tmp_path / "flipped.zip"
    middle = whole.index(b"media/train/0.pngmedia")
    flipped.write_bytes(whole[:middle] + b"M" + whole[middle + 1 :])
    for path, told in (
        (rewrite(archive, swap, honest=False), "is not what was backed up"),
        (rewrite(archive, grow, honest=False), "another size"),
        (rewrite(archive, add_file("files/new"), honest=False), "not what it contains"),
        (cut, "damaged"),
        (scrap, "damaged"),
        (flipped, "damaged"),
    ):
        with pytest.raises(InputError, match=told):
            restore_project(engine, place, shutil.copy(path, tmp_path / "bad.zip"), slug="again")
        see_nothing_left(engine, place, {scene.project.slug})
    linked = rewrite(archive, lambda contents, manifest: None, mode=stat.S_IFLNK | 0o777)
    with pytest.raises(InputError, match="no regular file"):
        restore_project(engine, place, linked, slug="again")
    with pytest.raises(WorkspaceError, match="cannot be read"):
        restore_project(engine, place, tmp_path / "missing.zip")


def test_a_bomb_is_refused_before_it_is_unpacked(archive, scene, engine, place):
    zeros = bytes(101 * 10**6)
    bomb = rewrite(archive, lambda contents, manifest: contents.update({"files/zeros": zeros}))
    assert bomb.stat().st_size < 500_000
    with pytest.raises(InputError, match="made to fill a disk"):
        restore_project(engine, place, bomb, slug="again")
    see_nothing_left(engine, place, {scene.project.slug})


# Kills


RESTORE = """
import os, signal, sys
from pathlib import Path
from relabel.workspace import resolve_workspace
from relabel.projects.restore import restore_project
from relabel.db.engine import open_database
def die(report):
    if report.stage == sys.argv[3] and report.done > 0:
        os.kill(os.getpid(), signal.SIGKILL)
place = resolve_workspace(sys.argv[1])
engine = open_database(place.database_url)
restore_project(engine, place, Path(sys.argv[2]), slug="again", on_progress=die)
"""


@pytest.mark.parametrize("stage", ["unpacking the files", "entering the rows"])
def test_a_killed_restoration_is_seen_by_nobody_and_can_be_repeated(
    preloaded, archive, scene, engine, place, stage
):
    killed = preloaded.run("-c", RESTORE, str(place.root), str(archive), stage)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(NotFoundError):
        get_project(engine, "again")
    assert restore_project(engine, place, archive, slug="again").slug == "again"
    assert list_hidden_projects(engine) == []
    assert {path.name for path in (place.root / "projects").iterdir()} == {
        scene.project.slug,
        "again",
    }


def test_a_cancelled_restoration_leaves_nothing(archive, scene, engine, place):
    def interrupt(report: Any) -> None:
        if report.stage == "entering the rows" and report.done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_project(engine, place, archive, slug="again", on_progress=interrupt)
    see_nothing_left(engine, place, {scene.project.slug})


# Deleting


def test_a_deleted_project_takes_its_files_and_logs_along(scene, engine, place):
    slug = scene.project.slug
    other = build_scene(engine)
    job = create_job(engine, slug, "train", log="logs/job-{id}.log")
    finish_job(engine, job.id, "succeeded")
    (place.root / "logs").mkdir()
    (place.root / job.log).write_text("once")
    remove_project(engine, place, slug)
    assert [project.slug for project in list_projects(engine)] == [other.project.slug]
    assert list((place.root / "projects").iterdir()) == []
    assert list((place.root / "logs").iterdir()) == []


def test_a_busy_project_is_not_deleted(scene, engine, place):
    job = create_job(engine, scene.project.slug, "train")
    before = files_of(place.project_folder(scene.project.slug))
    with pytest.raises(Exception, match="busy"):
        remove_project(engine, place, scene.project.slug)
    assert files_of(place.project_folder(scene.project.slug)) == before
    finish_job(engine, job.id, "failed")
    remove_project(engine, place, scene.project.slug)


@pytest.mark.parametrize("killed_after", ["mark", "hidden", "taken away"])
def test_what_a_killed_deletion_left_is_removed_at_the_next_start(
    scene, engine, place, killed_after
):
    slug = scene.project.slug
    folder = place.project_folder(slug)
    mark_unfinished(place, folder)
    if killed_after != "mark":
        hide_project(engine, scene.project.id)
    if killed_after == "taken away":
        folder.rename(folder.with_name(f".removed-{slug}-0"))
    found = finish_removals(engine, place)
    if killed_after == "mark":
        # It had not begun: everything is as it was.
        assert found == []
        assert get_project(engine, slug).id == scene.project.id
        assert not (folder / MARK).exists()
        assert (folder / "truth.parquet").exists()
        return
    assert found == [slug]
    see_nothing_left(engine, place, set())
    assert finish_removals(engine, place) == []
