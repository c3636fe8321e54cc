"""The file that was opened is the file that is used: moved, replaced or read-only, it is said."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine

from relabel.db.engine import is_read_only, open_database, reading
from relabel.db.examples import get_example
from relabel.db.projects import delete_project
from relabel.db.queue import fetch_page
from relabel.db.sqlite import FILE_OPTION
from relabel.errors import DatabaseError
from relabel.export import export_labels
from tests.full_disks import small_disk
from tests.relabel.db.builders import Scene, build_scene


@pytest.fixture
def path(tmp_path: Path, sqlite_template: Path) -> Path:
    shutil.copy(sqlite_template, tmp_path / "reviews.db")
    return tmp_path / "reviews.db"


@pytest.fixture
def engine(path: Path):
    engine = open_database(f"sqlite:///{path}")
    yield engine
    engine.dispose()


def move_away(path: Path) -> None:
    for part in path.parent.glob(f"{path.name}*"):
        part.rename(part.with_name(f"moved-{part.name}"))


def move_back(path: Path) -> None:
    for part in path.parent.glob("moved-*"):
        part.rename(part.with_name(part.name.removeprefix("moved-")))


def refuse_everything(scene: Scene, told: str) -> None:
    example_id = scene.train_ids[0]
    for use in (
        lambda: fetch_page(scene.engine, scene.run.id),
        lambda: get_example(scene.engine, example_id, scene.run.id),
        lambda: scene.decide(example_id),
    ):
        with pytest.raises(DatabaseError, match=told):
            use()


@pytest.mark.parametrize("pooled", [True, False])
def test_a_file_that_was_renamed_is_missed_and_never_made_anew(engine: Engine, path, pooled):
    scene = build_scene(engine)
    scene.decide(scene.train_ids[0])
    if not pooled:
        engine.dispose()  # the next use opens a connection of its own
    move_away(path)
    refuse_everything(scene, "moved, deleted or replaced.*Found no file")
    with pytest.raises(DatabaseError, match="Found no file"):
        open_database(f"sqlite:///{path}")  # as a job's end does
    assert not path.exists()
    move_back(path)
    assert scene.decide(scene.train_ids[0]).version == 2


def test_a_file_that_was_deleted_or_whose_folder_was_moved_is_missed(tmp_path, sqlite_template):
    folder = tmp_path / "workspace"
    folder.mkdir()
    path = Path(shutil.copy(sqlite_template, folder / "reviews.db"))
    engine = open_database(f"sqlite:///{path}")
    scene = build_scene(engine)
    folder.rename(tmp_path / "elsewhere")
    refuse_everything(scene, "Found no file")
    assert not folder.exists()
    (tmp_path / "elsewhere").rename(folder)
    path.unlink()
    refuse_everything(scene, "Found no file")
    assert not path.exists()
    engine.dispose()


@pytest.mark.parametrize("how", ["another file", "the same file"])
def test_an_older_copy_in_its_place_is_noticed(engine: Engine, path, tmp_path, how):
    scene = build_scene(engine)
    scene.decide(scene.train_ids[0])
    engine.dispose()
    older = shutil.copy(path, tmp_path / "older.db")
    scene.decide(scene.train_ids[1])
    get_example(engine, scene.train_ids[1], None)
    engine.dispose()
    if how == "another file":
        Path(older).replace(path)
    else:
        path.write_bytes(Path(older).read_bytes())
    refuse_everything(scene, "Found another" if how == "another file" else "up to number 1 where")
    # A program that is started now has seen nothing else.
    with reading(open_database(f"sqlite:///{path}")) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM decision").scalar() == 1


def test_a_decision_that_another_thread_sees_meanwhile_is_not_missed(engine: Engine, path):
    scene = build_scene(engine, 20, 1)
    scene.decide(scene.by_rank(1))
    file = engine.get_execution_options()[FILE_OPTION]
    with engine.connect() as connection:
        raw = connection.connection.dbapi_connection

        class Overtaken:
            """Another thread records and sees a decision after this one has read."""

            def execute(self, *statement):
                found = raw.execute(*statement).fetchall()
                number, project = file._last
                file._last = (number + 1, project)
                return iter_rows(found)

        file.check_content(Overtaken())
        assert file._last[0] == raw.execute("SELECT max(id) FROM decision").fetchone()[0] + 1


def iter_rows(rows):
    """Return what has ``fetchone``, as a cursor does."""
    return SimpleNamespace(fetchone=lambda: rows[0] if rows else None)


def test_a_move_amid_a_decision_is_noticed_before_it_is_confirmed(engine, path, monkeypatch):
    scene = build_scene(engine)
    from relabel.db.decisions import recording

    append = recording._append

    def move_and_append(*arguments):
        done = append(*arguments)
        move_away(path)
        return done

    monkeypatch.setattr(recording, "_append", move_and_append)
    with pytest.raises(DatabaseError, match="Found no file"):
        scene.decide(scene.train_ids[0])
    move_back(path)
    assert get_example(engine, scene.train_ids[0], None).version == 0


def test_decisions_that_go_with_their_project_are_not_missed(engine):
    other = build_scene(engine)
    other.decide(other.train_ids[0])
    scene = build_scene(engine)
    scene.decide(scene.train_ids[0])
    get_example(engine, scene.train_ids[0], None)
    delete_project(engine, scene.project.id)
    assert other.decide(other.train_ids[1]).version == 1


@pytest.fixture
def read_only_disk(tmp_path: Path):
    """A folder that can be made read-only, for root too."""
    with small_disk(tmp_path / "disk", "16m") as disk:
        yield disk


def lock(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, capture_output=True)


@pytest.mark.parametrize("left", ["closed", "killed"])
def test_what_may_only_be_read_is_looked_at_and_exported(
    tmp_path, sqlite_template, read_only_disk, left
):
    path = Path(shutil.copy(sqlite_template, tmp_path / "reviews.db"))
    engine = open_database(f"sqlite:///{path}")
    scene = build_scene(engine)
    scene.decide(scene.train_ids[0], "exclude", note="torn")
    if left == "closed":
        engine.dispose()
    for part in tmp_path.glob("reviews.db*"):  # a killed process leaves its log
        if not part.name.endswith("-shm"):
            shutil.copy(part, read_only_disk / part.name)
    engine.dispose()
    lock(read_only_disk)
    url = f"sqlite:///{read_only_disk / 'reviews.db'}"
    with pytest.raises(DatabaseError, match="read-only for you"):
        open_database(url)
    looking = open_database(url, to_look=True)
    assert is_read_only(looking)
    assert fetch_page(looking, scene.run.id).total == 6
    assert get_example(looking, scene.train_ids[0], None).status == "excluded"
    exported = export_labels(looking, scene.project.id, format="csv", path=tmp_path / "out.csv")
    assert "torn" in exported.read_text()
    with pytest.raises(DatabaseError, match=r"read-only for you.*nothing can be recorded"):
        Scene(looking, scene.project, scene.run, scene.train_ids, []).decide(scene.train_ids[1])
    looking.dispose()


def test_a_database_of_an_older_version_that_may_only_be_read_is_told(read_only_disk):
    (read_only_disk / "empty.db").touch()
    lock(read_only_disk)
    with pytest.raises(DatabaseError, match="brought up to date"):
        open_database(f"sqlite:///{read_only_disk / 'empty.db'}", to_look=True)
