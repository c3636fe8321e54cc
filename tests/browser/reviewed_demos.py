"""The demos after two people have reviewed some of them, so that every page has all it can show."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.db.team.opinions import record_opinion
from relabel.db.team.reviewers import Identity
from relabel.db.team.second_looks import set_share
from relabel.workspace import resolve_workspace

FIRST, SECOND = "Ann", "Bob"
# One after the other, over and over: what the first decides, what the second answers to it.
_ANSWERS = (
    ("relabel", "relabel"),
    ("keep", "keep"),
    ("relabel", "keep"),
    ("exclude", "exclude"),
    ("ambiguous", "keep"),
)


def review_demos(root: Path, *slugs: str, decisions: int = 25) -> Path:
    """Record decisions, and second opinions on them, in a workspace; return its folder."""
    engine = open_database(resolve_workspace(root).database_url)
    try:
        for slug in slugs:
            review_project(engine, slug, decisions)
    finally:
        engine.dispose()
    return root


def review_project(engine: Engine, slug: str, decisions: int) -> None:
    """Let two people answer about the first suspects of a project."""
    project = get_project(engine, slug)
    run = current_run(engine, project.id)
    assert run is not None
    set_share(engine, project.id, 1.0, by=Identity(FIRST))
    for number, row in enumerate(fetch_page(engine, run.id, page_size=decisions).rows):
        of_first, of_second = _ANSWERS[number % len(_ANSWERS)]
        other = (row.given_label + 1) % len(project.classes)
        said = {
            action: {"new_label": other} if action == "relabel" else {}
            for action in (of_first, of_second)
        }
        note = f"note {number}" if number % 2 else ""
        decided = NewDecision(row.example_id, 0, FIRST, of_first, note=note, **said[of_first])
        made = record_decision(engine, decided)
        opinion = NewDecision(row.example_id, 0, SECOND, of_second, **said[of_second])
        record_opinion(engine, opinion, made.id)
