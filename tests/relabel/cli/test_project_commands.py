"""Projects are listed, renamed, put away, deleted, backed up and restored from the terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from relabel.cli import main
from relabel.db.engine import open_database
from relabel.db.projects import list_projects
from relabel.importers.ingest.staging import identify_database
from relabel.projects.delete import MARK, mark_unfinished, measure_disk_use
from relabel.text import format_bytes
from relabel.triage.evidence import open_evidence
from relabel.workspace import REPOSITORY_ROOT
from tests.relabel.jobs.workspaces import find_run, own_digits


@pytest.fixture
def own(built_demos, tmp_path, monkeypatch):
    own = own_digits(built_demos, tmp_path / "own")
    monkeypatch.setenv("TRACIN_WORKSPACE", str(own.root))
    return own


def list_slugs(own) -> list[str]:
    engine = open_database(own.database_url)
    try:
        return [project.slug for project in list_projects(engine)]
    finally:
        engine.dispose()


def test_projects_are_listed_with_their_size(own, capsys):
    assert main(["projects", "--format", "json"]) == 0
    digits = json.loads(capsys.readouterr().out)[0]
    assert digits["examples"] == {"train": 1438, "test": 359}
    assert (digits["name"], digits["kind"], digits["reviewed"]) == ("digits", "image", 0)
    assert digits["bytes"] == measure_disk_use(own, "digits").total > 10**6
    assert main(["projects"]) == 0
    assert "Handwritten digits" in capsys.readouterr().out


def test_disk_use_counts_a_file_with_two_names_once(own):
    use = measure_disk_use(own, "digits")
    folder = own.project_folder("digits")
    assert use.media >= sum(path.stat().st_size for path in folder.glob("media/**/*.png"))
    os.link(folder / "truth.parquet", folder / "truth-again.parquet")
    (folder / "elsewhere").symlink_to(own.root)
    assert measure_disk_use(own, "digits").total - use.total <= 4096
    assert measure_disk_use(own, "nowhere").total == 0


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (45_200_000, "45 MB"), (1_240_000_000, "1.2 GB")],
)
def test_sizes_are_said_as_people_do(size, said):
    assert format_bytes(size) == said


def test_a_project_is_renamed_and_put_away_and_taken_out(own, capsys):
    assert main(["rename", "digits", "Zahlen <b>"]) == 0
    assert "digits: Zahlen <b>" in capsys.readouterr().out
    assert main(["rename", "digits"]) == 2
    assert main(["rename", "digits", " "]) == 2
    assert main(["archive", "digits"]) == 0
    assert "digits" not in list_slugs(own)
    assert main(["projects", "--archived"]) == 0
    assert "Zahlen" in capsys.readouterr().out
    assert main(["archive", "digits", "--undo"]) == 0
    assert "digits" in list_slugs(own)


def test_a_deletion_asks_for_the_name(own, capsys):
    def answer(text: bytes) -> int:
        ours, theirs = pty.openpty()
        os.write(ours, text)
        process = subprocess.run(
            [sys.executable, "-m", "relabel", "delete", "digits"],
            cwd=REPOSITORY_ROOT,
            stdin=theirs,
            capture_output=True,
            timeout=60,
        )
        os.close(ours)
        os.close(theirs)
        assert b"Type its name" in process.stderr
        return process.returncode

    assert main(["delete", "digits"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert answer(b"y\n") == 2
    assert "digits" in list_slugs(own)
    assert answer(b"digits\n") == 0
    assert "digits" not in list_slugs(own)
    assert not own.project_folder("digits").exists()
    assert "docs" in list_slugs(own)


def test_the_doctor_clears_up_after_killed_imports_and_deletions(own, capsys):
    begun = own.project_folder("begun")
    (begun / ".import").mkdir(parents=True)
    owner = json.dumps({"database": identify_database(own)})
    (begun / ".import" / "owner.json").write_text(owner)
    gone = own.project_folder("gone")
    gone.mkdir()
    mark_unfinished(own, gone)
    others = own.project_folder("others")
    others.mkdir()
    (others / MARK).write_text("another database")
    main(["doctor"])
    shown = capsys.readouterr().out
    assert "project begun: Removed what an unfinished import" in shown
    assert "project gone: Removed what an unfinished deletion" in shown
    assert not gone.exists()
    assert not (begun / ".import").exists()
    assert others.exists()
    main(["doctor"])
    assert "Removed" not in capsys.readouterr().out


def test_a_backup_brings_the_whole_project_back(own, tmp_path, capsys):
    path = tmp_path / "digits.zip"
    assert main(["backup", "digits", "-o", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    assert main(["restore", str(path)]) == 2
    assert "digits" in capsys.readouterr().err
    assert main(["delete", "digits", "--yes"]) == 0
    assert main(["restore", str(path)]) == 0
    assert main(["restore", str(path), "--name", "zwei"]) == 0
    main(["doctor"])
    assert "ok      project zwei: run" in capsys.readouterr().out
    for slug in ("digits", "zwei"):
        evidence = open_evidence(find_run(own, slug))
        assert evidence.recall("all") > 0.95
        assert main(["evaluate", slug]) == 0
    assert main(["backup", "digits", "-o", str(tmp_path / "missing" / "a.zip")]) == 2
    assert "does not exist" in capsys.readouterr().err
