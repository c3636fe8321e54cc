"""Roles are given where the database is: on the command line."""

from __future__ import annotations

from relabel.cli import main
from relabel.db.engine import open_database
from relabel.db.team.reviewers import ensure_reviewer, list_reviewers


def test_a_lead_is_made_and_listed(place, capsys):
    where = ["--workspace", str(place.root)]
    assert main(["role", *where]) == 0
    assert "There is no lead: everybody may undo" in capsys.readouterr().out
    engine = open_database(place.database_url)
    ensure_reviewer(engine, "Ann", "typed")
    ensure_reviewer(engine, "ann", "oidc")
    assert main(["role", "ANN", "lead", *where]) == 0
    assert main(["role", "bob", "lead", "--identity", "oidc", *where]) == 0
    assert main(["role", "cleo", "reviewer", *where]) == 0
    assert sorted((one.name, one.identity_source, one.role) for one in list_reviewers(engine)) == [
        ("Ann", "typed", "lead"),
        ("ann", "oidc", "lead"),
        ("bob", "oidc", "lead"),
        ("cleo", "typed", "reviewer"),
    ]
    engine.dispose()
    capsys.readouterr()
    assert main(["role", "cleo", *where]) == 0
    told = capsys.readouterr().out
    assert "cleo" in told
    assert "There is no lead" not in told
