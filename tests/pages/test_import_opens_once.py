"""The Projects page: a file is opened once to show it, and once more when Import is pressed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from relabel.db.jobs import Job, claim_job, list_jobs
from relabel.importers.ingest.project import FILE_CHANGED
from relabel.jobs.execute import execute_job
from relabel.jobs.launch import queue_job
from relabel.progress import ignore_progress
from relabel.workspace import Workspace
from tests.relabel.importers.ingest.opens import counted_opens
from ui.projects.jobs import describe_import

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's"),
    pytest.mark.usefixtures("forked"),
]


@pytest.fixture
def workspace(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("TRACIN_WORKSPACE", str(place.root))
    # The job waits until the test does it, as a process of its own would.
    monkeypatch.setattr("ui.projects.import_form.start_job", queue_job)
    return place


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "films.csv"
    write_films(path, 40)
    return path


def write_films(path: Path, number: int) -> None:
    rows = [f"this film was played in scene {n},{('yes', 'no')[n % 2]}" for n in range(number)]
    path.write_text("\n".join(["review,liked", *rows]) + "\n")


def show(app: AppTest, path: Path) -> AppTest:
    app = app.text_input(key="import-path").set_value(str(path)).run()
    assert not app.exception
    return app


def do(engine: Engine, workspace: Workspace) -> Job:
    """Run the job that the page has started."""
    job = list_jobs(engine)[0]
    return execute_job(engine, workspace, claim_job(engine, job.id), ignore_progress)


def test_a_table_is_opened_once_to_show_and_once_to_import(open_app, engine, workspace, table):
    app = open_app("projects")
    with counted_opens(table) as opens:
        app = show(app, table)
        app = app.text_input(key=next(i.key for i in app.text_input if i.label == "Title")).run()
    assert opens.count == 1
    with counted_opens(table) as opens:
        app.button(key="import").click().run()
        job = do(engine, workspace)
    assert opens.count == 1
    assert sum(job.result["added"].values()) == 40
    assert FILE_CHANGED not in describe_import(job)


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_table_that_was_written_to_after_it_was_shown_is_read_anew(
    is_lost, open_app, engine, workspace, table
):
    app = show(open_app("projects"), table)
    app.button(key="import").click().run()
    if is_lost:
        Path(list_jobs(engine)[0].options["kept_plan"]).unlink()
    write_films(table, 60)
    os.utime(table, ns=(0, 0))
    job = do(engine, workspace)
    assert sum(job.result["added"].values()) == 60
    assert FILE_CHANGED in describe_import(job)
