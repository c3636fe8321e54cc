"""On a disk without room everything says so, nothing is half done, and deleting makes room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from relabel.db.engine import open_database
from relabel.db.examples import get_example
from relabel.db.projects import (
    archive_project,
    get_project,
    hide_project,
    list_hidden_projects,
    list_projects,
    rename_project,
)
from relabel.doctor import diagnose
from relabel.errors import DatabaseError, DatabaseFullError, NotFoundError, WorkspaceError
from relabel.export import export_labels
from relabel.importers.ingest.staging import identify_database, is_of_database
from relabel.projects import delete
from relabel.projects.backup import backup_project
from relabel.projects.delete import (
    finish_removals,
    list_moved_leftovers,
    list_unfinished_removals,
    mark_unfinished,
    remove_project,
)
from relabel.projects.restore import restore_project
from relabel.workspace import REPOSITORY_ROOT, Workspace, resolve_workspace
from tests.full_disks import fill, small_disk
from tests.relabel.db.builders import build_scene

MEGABYTE = 10**6


@pytest.fixture
def disk(tmp_path: Path, empty_database: Path):
    with small_disk(tmp_path / "disk", "12m") as disk:
        shutil.copy(empty_database, disk / "tracin.db")
        yield disk


@pytest.fixture
def place(disk: Path) -> Workspace:
    return resolve_workspace(disk)


@pytest.fixture
def engine(place: Workspace):
    engine = open_database(place.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def scene(engine, place):
    scene = build_scene(engine, 40, 3)
    scene.decide(scene.train_ids[0])
    folder = place.project_folder(scene.project.slug)
    for name in ("encoded/a.bin", "runs/first/vectors.bin", "media/1.bin"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(os.urandom(MEGABYTE))
    return scene


def free(disk: Path) -> int:
    return shutil.disk_usage(disk).free


def repeat(change: Callable[[], object]) -> None:
    """Change something until the room that the database's log has already is used up."""
    for _ in range(3000):
        change()


def see_it_gone(engine, place: Workspace, slug: str) -> None:
    with pytest.raises(NotFoundError):
        get_project(engine, slug)
    assert list_hidden_projects(engine) == []
    assert [path for path in (place.root / "projects").iterdir() if slug in path.name] == []
    assert list_unfinished_removals(engine, place) == []


def test_deleting_on_a_full_disk_makes_room(scene, engine, place, disk):
    slug = scene.project.slug
    fill(disk)
    with pytest.raises(DatabaseFullError, match="full or failing"):
        repeat(lambda: scene.decide(scene.train_ids[1]))
    remove_project(engine, place, slug)
    see_it_gone(engine, place, slug)
    assert free(disk) > 2 * MEGABYTE


def test_the_command_deletes_on_a_disk_where_nothing_can_be_opened_as_usual(
    scene, engine, place, disk
):
    slug = scene.project.slug
    engine.dispose()  # the last user takes the log away, and there is no room for another
    fill(disk)
    command = [sys.executable, "-m", "relabel", "--workspace", str(disk)]
    done = subprocess.run(
        [*command, "queue", slug, "--top", "3"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY_ROOT,
    )
    assert done.returncode == 0, done.stderr  # looking needs no room
    done = subprocess.run(
        [*command, "delete", slug, "--yes"], capture_output=True, text=True, cwd=REPOSITORY_ROOT
    )
    assert done.returncode == 0, done.stderr
    assert f"Deleted {slug}" in done.stdout
    see_it_gone(engine, place, slug)


def test_what_cannot_be_hidden_even_so_is_told_and_can_be_repeated(
    scene, engine, place, monkeypatch
):
    slug = scene.project.slug
    rooms = iter([False] * 4)

    def hide(*arguments):
        if not next(rooms, True):
            raise DatabaseFullError("The database has no room.")
        hide_project(*arguments)

    monkeypatch.setattr(delete, "hide_project", hide)
    with pytest.raises(DatabaseFullError, match=r"were removed\. Its rows are still there.*again"):
        remove_project(engine, place, slug)
    assert [project.slug for project in list_projects(engine)] == [slug]
    remove_project(engine, place, slug)
    see_it_gone(engine, place, slug)


def test_what_can_be_made_again_goes_first(scene, engine, place, monkeypatch):
    slug, kept = scene.project.slug, []

    def hide(*arguments):
        folder = place.project_folder(slug)
        kept.append(sorted(path.name for path in folder.iterdir()))
        if len(kept) < 2:
            raise DatabaseFullError("no room")
        hide_project(*arguments)

    monkeypatch.setattr(delete, "hide_project", hide)
    remove_project(engine, place, slug)
    assert kept == [["encoded", "media", "runs"], ["media", "runs"]]


@pytest.mark.parametrize("again", ["delete", "start"])
def test_a_deletion_that_failed_on_the_way_is_listed_and_goes_on(
    scene, engine, place, monkeypatch, again
):
    slug = scene.project.slug

    def fail(*_):
        raise DatabaseFullError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(delete, "delete_hidden_project", fail)
        with pytest.raises(DatabaseFullError):
            remove_project(engine, place, slug)
        with pytest.raises(DatabaseFullError):
            finish_removals(engine, place)
    (left,) = list_unfinished_removals(engine, place)
    assert left.slug == slug
    if again == "delete":
        remove_project(engine, place, slug)
    else:
        assert finish_removals(engine, place) == [slug]
    see_it_gone(engine, place, slug)
    with pytest.raises(NotFoundError):
        remove_project(engine, place, slug)


def test_files_that_cannot_be_removed_keep_the_deletion_known(scene, engine, place, monkeypatch):
    slug = scene.project.slug

    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(delete, "remove_tree", refuse)
        with pytest.raises(WorkspaceError, match="Permission denied"):
            remove_project(engine, place, slug)
    (left,) = list_unfinished_removals(engine, place)
    assert left.bytes > 2 * MEGABYTE
    remove_project(engine, place, slug)
    see_it_gone(engine, place, slug)


def test_a_new_project_of_the_name_keeps_its_files(scene, engine, place):
    slug = scene.project.slug
    hide_project(engine, scene.project.id)
    from relabel.db.projects import create_project

    shutil.rmtree(place.project_folder(slug))
    create_project(engine, slug=slug, title="New", kind="text", classes=["a", "b"])
    place.project_folder(slug).mkdir()
    (place.project_folder(slug) / "mine").write_text("new")
    assert finish_removals(engine, place) == [slug]
    assert (place.project_folder(slug) / "mine").read_text() == "new"
    assert get_project(engine, slug).title == "New"


def test_a_workspace_can_be_moved_and_its_deletions_still_finish(scene, engine, place, tmp_path):
    hide_project(engine, scene.project.id)
    engine.dispose()
    shutil.copytree(place.root, tmp_path / "moved")
    moved = resolve_workspace(tmp_path / "moved")
    assert identify_database(moved) == identify_database(place)
    assert not is_of_database(moved, "another")
    other = open_database(moved.database_url)
    assert finish_removals(other, moved) == [scene.project.slug]
    see_it_gone(other, moved, scene.project.slug)
    other.dispose()


def test_a_marked_folder_that_a_person_has_moved_is_left_alone_and_told(scene, engine, place):
    folder = place.project_folder(scene.project.slug)
    mark_unfinished(place, folder)
    kept = folder.rename(folder.with_name("kept-by-hand"))
    assert finish_removals(engine, place) == []
    assert (kept / "media/1.bin").exists()
    assert list_moved_leftovers(place) == [kept]
    told = [finding.text for finding in diagnose(place) if finding.subject == "leftovers"]
    assert any("kept-by-hand" in text and "left alone" in text for text in told)


def test_a_mark_is_known_when_the_whole_workspace_was_moved(scene, engine, place, tmp_path):
    folder = place.project_folder("again")
    folder.mkdir()
    mark_unfinished(place, folder)
    engine.dispose()
    shutil.copytree(place.root, tmp_path / "moved")
    moved = resolve_workspace(tmp_path / "moved")
    other = open_database(moved.database_url)
    assert finish_removals(other, moved) == ["again"]
    assert not moved.project_folder("again").exists()
    assert moved.project_folder(scene.project.slug).exists()
    other.dispose()


def test_everything_else_says_so_and_leaves_nothing_half(scene, engine, place, disk, tmp_path):
    slug = scene.project.slug
    kept = backup_project(engine, place, slug, tmp_path / "kept.zip")
    fill(disk)
    before = sorted(path.name for path in disk.rglob("*"))
    with pytest.raises(WorkspaceError, match=r"out\.csv cannot be written: No space left"):
        export_labels(engine, scene.project.id, format="csv", path=disk / "out.csv")
    with pytest.raises(WorkspaceError, match=r"b\.zip cannot be written: No space left"):
        backup_project(engine, place, slug, disk / "b.zip")
    with pytest.raises(WorkspaceError, match=r"free in|No space left"):
        restore_project(engine, place, kept, slug="again")
    for change in (
        lambda: scene.decide(scene.train_ids[1]),
        lambda: rename_project(engine, scene.project.id, title="x" * 100, description="y" * 1900),
        lambda: archive_project(engine, scene.project.id),
    ):
        with pytest.raises(DatabaseError, match="full or failing"):
            repeat(change)
    assert sorted(path.name for path in disk.rglob("*")) == before
    version = get_example(engine, scene.train_ids[1], None).version
    (disk / "filler").unlink()
    assert scene.decide(scene.train_ids[1]).version == version + 1
