"""A backup comes back by its path or as an upload, under any name, and wherever it is given."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from relabel.db.decisions.history import fetch_history
from relabel.db.jobs import ACTIVE, list_jobs
from relabel.db.projects import get_project
from relabel.projects.backup import backup_project
from relabel.projects.delete import remove_project
from relabel.workspace import Workspace
from tests.relabel.db.builders import build_scene

pytestmark = pytest.mark.usefixtures("forked")


@pytest.fixture
def workspace(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("TRACIN_WORKSPACE", str(place.root))
    return place


@pytest.fixture
def backup(engine, workspace: Workspace, tmp_path: Path) -> tuple[str, bytes]:
    """The name and the backup of a project that is gone."""
    scene = build_scene(engine)
    scene.decide(scene.train_ids[0], "exclude", note="torn")
    slug = scene.project.slug
    (workspace.project_folder(slug) / "runs/first").mkdir(parents=True)
    (workspace.project_folder(slug) / "runs/first/run.json").write_text("{}")
    path = backup_project(engine, workspace, slug, tmp_path / "kept.zip")
    remove_project(engine, workspace, slug)
    return slug, path.read_bytes()


def upload(app: AppTest, box: str, name: str, content: bytes) -> AppTest:
    app = app.segmented_control(key=f"{box}-place").set_value("upload").run()
    return app.file_uploader[0].upload(name, content).run()


def wait_for_job(engine) -> str:
    for _ in range(600):
        (job,) = list_jobs(engine, limit=1)
        if job.state not in ACTIVE:
            return f"{job.state} {job.error}".strip()
        time.sleep(0.1)
    raise AssertionError("the job did not end")


@pytest.mark.parametrize(
    ("box", "name"),
    [("backup", "kept.zip"), ("backup", "kept"), ("backup", "kept.tar.gz"), ("import", "kept.zip")],
)
def test_an_uploaded_backup_is_restored(open_app, engine, workspace, backup, box, name):
    slug, content = backup
    app = open_app("projects", show="restore" if box == "backup" else "new")
    app = upload(app, box, name, content)
    assert not app.exception
    assert not app.error
    assert any("6 examples" in item.value or "9 examples" in item.value for item in app.text)
    app.button(key="start-restore").click().run()
    assert not app.exception
    assert wait_for_job(engine) == "succeeded"
    restored = get_project(engine, slug)
    assert [event.note for event in fetch_history(engine, restored.id).rows] == ["torn"]
    open_app("projects")
    assert list((workspace.root / "uploads").iterdir()) == []


def test_data_given_as_a_backup_is_told_apart(open_app, workspace):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("cat/1.txt", "a cat")
        archive.writestr("dog/1.txt", "a dog")
    app = upload(open_app("projects", show="restore"), "backup", "texts.zip", content.getvalue())
    assert not app.exception
    told = app.error[0].value.replace("\\", "")
    assert "is no backup of a project" in told
    assert "“Import data”" in told
    assert not [item for item in app.button if item.key == "start-restore"]


def test_a_backup_that_was_cut_off_is_damaged_and_no_traceback(open_app, backup):
    _slug, content = backup
    app = upload(open_app("projects", show="restore"), "backup", "kept.zip", content[:-200])
    assert not app.exception
    assert "its end is missing" in app.error[0].value.replace("\\", "")


def test_a_backup_named_as_a_path_to_import_is_offered_to_be_restored(open_app, backup, tmp_path):
    app = open_app("projects", show="new")
    app = app.text_input(key="import-path").set_value(str(tmp_path / "kept.zip")).run()
    assert not app.exception
    assert "is a backup of a project" in app.info[0].value
    assert app.button(key="start-restore")
