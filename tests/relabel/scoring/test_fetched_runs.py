"""A run that is scored on one machine, published, and fetched on another."""

from __future__ import annotations

from relabel.cli import main
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.scoring.project import score_project, train_project
from tests.relabel.scoring import small_projects
from tests.relabel.scoring.small_projects import QUICK, open_workspace


def test_another_machine_shows_the_same_suspects(tmp_path, capsys):
    share = str(tmp_path / "share")
    engine, workspace = open_workspace(tmp_path / "first")
    small_projects.make_texts(engine, wrong=(3, 20))
    train_project(engine, workspace, "weather", QUICK)
    run = score_project(engine, workspace, "weather", QUICK)
    shown = [(row.position, row.score) for row in fetch_page(engine, run.id).rows]
    engine.dispose()
    there = ["--workspace", str(workspace.root)]
    assert main(["publish", "weather", "--to", share, "--release", *there]) == 0
    told = capsys.readouterr().out
    assert f"Run {run.key} is in file://{share}" in told
    assert "of vectors are read from there now" in told

    engine, second = open_workspace(tmp_path / "second")
    project = small_projects.make_texts(engine, wrong=(3, 20))
    here = ["--workspace", str(second.root)]
    assert main(["fetch", "weather", "--from", share, *here]) == 0
    fetched = current_run(engine, project.id)
    assert fetched.key == run.key
    assert [(row.position, row.score) for row in fetch_page(engine, fetched.id).rows] == shown
    assert not list(second.run_folder("weather", run.key).parent.glob(".*.fetched"))
    engine.dispose()

    capsys.readouterr()
    engine, third = open_workspace(tmp_path / "third")
    project = small_projects.make_texts(engine, wrong=(4,))
    here = ["--workspace", str(third.root)]
    assert main(["fetch", "weather", "--from", share, *here]) == 2
    assert "scored for other examples or labels" in capsys.readouterr().err
    assert current_run(engine, project.id) is None
    assert main(["fetch", "weather", "--from", f"{share}/none", *here]) == 2
    assert "has no complete run of project weather" in capsys.readouterr().err
    assert main(["publish", "weather", "--to", share, "--run", "r9", *here]) == 2
    assert "has no run r9; it has: none" in capsys.readouterr().err
    engine.dispose()
