"""The commands ``audit`` and ``learn``: drawn, drawn again, told, and what is missing."""

from __future__ import annotations

import json

import pytest

from relabel.cli import main
from relabel.db.engine import open_database, reading
from relabel.db.team.audits import list_items, read_audit
from relabel.workspace import resolve_workspace
from tests.relabel.db.builders import build_scene


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path))
    workspace = resolve_workspace()
    workspace.prepare()
    engine = open_database(workspace.database_url)
    yield build_scene(engine, 60)
    engine.dispose()


def test_an_audit_is_drawn_told_and_checked(scene, capsys):
    slug = scene.project.slug
    assert main(["audit", slug]) == 0
    assert "No audit was drawn" in capsys.readouterr().out
    assert main(["audit", slug, "--draw", "20", "--seed", "abc", "--reviewer", "Ann"]) == 0
    assert main(["audit", slug, "--more", "5"]) == 0
    capsys.readouterr()
    with reading(scene.engine) as connection:
        audit = read_audit(scene.engine, scene.project.id)
        items = list_items(connection, audit)
    assert (audit.seed, audit.by, len(items)) == ("abc", "Ann", 25)
    for number, one in enumerate(items):
        scene.decide(one.example_id, "exclude" if number < 5 else "keep", source="audit")
    assert main(["audit", slug, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["noise"]["rate"], told["noise"]["num_audited"]) == (0.2, 25)
    assert told["stop"]["goal"] == {"recall": 0.8, "confidence": 0.95}
    assert main(["audit", slug]) == 0
    assert "Labels that are wrong: 20.0%" in capsys.readouterr().out
    assert main(["audit", slug, "--check"]) == 0
    assert "the one that its seed gives" in capsys.readouterr().out


def test_learning_says_what_is_missing_and_off_ranks_as_before(scene, capsys):
    assert main(["learn", scene.project.slug]) == 2
    assert "0 decisions of 50" in capsys.readouterr().err
    assert main(["learn", scene.project.slug, "--off"]) == 0
    assert "as before" in capsys.readouterr().out
