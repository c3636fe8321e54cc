"""What killed processes were writing goes at the next start, and uploads when nobody needs them."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from app import remove_leftovers
from relabel.db.engine import open_database, writing
from relabel.db.jobs import claim_job, create_job, finish_job
from relabel.db.schema import JobRow, utc_now
from relabel.doctor import diagnose
from relabel.projects.delete import remove_abandoned
from relabel.projects.uploads import FORGOTTEN_AFTER, tidy_uploads
from relabel.workspace import Workspace


@pytest.fixture
def engine(place: Workspace):
    engine = open_database(place.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def half_written(engine, place: Workspace, tmp_path: Path) -> list[Path]:
    """Files of killed processes: in the workspace, and where a backup was being written."""
    elsewhere = tmp_path / "elsewhere"
    job = create_job(engine, "mine", "backup", options={"path": str(elsewhere / "b.zip")})
    finish_job(engine, job.id, "failed")
    folders = [elsewhere, place.root / "backups", place.project_folder("mine") / "runs" / "r1"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / ".b.zip.4242-1.tmp").write_bytes(b"half")
        (folder / "b.zip").write_bytes(b"whole")
    time.sleep(0.3)
    return [folder / ".b.zip.4242-1.tmp" for folder in folders]


@pytest.mark.parametrize("by", ["call", "doctor", "start"])
def test_half_written_files_go_and_whole_ones_stay(
    engine, place, half_written, by, monkeypatch: pytest.MonkeyPatch
):
    if by == "call":
        assert sorted(remove_abandoned(engine, place)) == sorted(half_written)
    elif by == "doctor":
        told = [finding.text for finding in diagnose(place) if finding.subject == "leftovers"]
        assert len(told) == 3
        assert all("which a killed process had left" in text for text in told)
    else:
        monkeypatch.setenv("TRACIN_WORKSPACE", str(place.root))
        remove_leftovers()
    for path in half_written:
        assert not path.exists()
        assert (path.parent / "b.zip").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("state", "ended", "stays"),
    [
        ("queued", None, True),
        ("running", None, True),
        ("failed", timedelta(hours=23), True),
        ("cancelled", timedelta(hours=23), True),
        ("failed", timedelta(hours=25), False),
        ("succeeded", timedelta(0), False),
        (None, None, False),
    ],
)
def test_an_upload_stays_as_long_as_a_job_may_read_it(engine, place, state, ended, stays):
    path = place.root / "uploads" / "abc" / "data.csv"
    path.parent.mkdir(parents=True)
    path.write_text("text,label\n")
    (path.parent / ".held").touch()
    if state is not None:
        job = create_job(engine, "mine", "import", options={"path": str(path)})
        if state == "running":
            claim_job(engine, job.id)
        if ended is not None:
            finish_job(engine, job.id, state)
            with writing(engine) as connection:
                connection.execute(update(JobRow).values(finished_at=utc_now() - ended))
    for _ in range(60):  # an active job is found behind any number of newer ones
        finish_job(engine, create_job(engine, "other", "import").id, "failed")
    old = time.time() - FORGOTTEN_AFTER - 1
    os.utime(path.parent, (old, old))
    tidy_uploads(engine, place)
    assert path.exists() == stays
