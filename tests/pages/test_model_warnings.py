"""A weak model is said on every page that shows its suspects; keys without a meaning say why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from relabel.db.engine import writing
from relabel.db.examples import get_example
from relabel.db.projects import get_project
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.db.schema import RunRow
from relabel.fitting.options import WorkOptions
from relabel.scoring.project import score_project, train_project
from relabel.triage.model_quality import judge_run
from relabel.workspace import resolve_workspace
from tests.relabel.scoring import small_projects
from ui.galleries import place
from ui.inspect.unseen import choose_suggested
from ui.review.choices import explain_idle_keys, list_classes, list_verdicts

WEAK = "The model is little better than guessing"


@pytest.fixture(scope="module")
def untaught(tmp_path_factory) -> Path:
    """Texts scored with a network that has hardly been trained."""
    root = tmp_path_factory.mktemp("untaught")
    engine, workspace = small_projects.open_workspace(root)
    project = small_projects.make_texts(engine, train=60, test=40)
    options = WorkOptions(epochs=1, learning_rate=1e-4, model="word_embedding", folds=0)
    train_project(engine, workspace, project.slug, options)
    score_project(engine, workspace, project.slug, options)
    engine.dispose()
    return root


@pytest.fixture
def workspace(untaught, monkeypatch):
    monkeypatch.setenv("TRACIN_WORKSPACE", str(untaught))
    return resolve_workspace()


def warned(app) -> str:
    return "\n".join(item.value for item in app.warning).replace("\\", "")


@pytest.mark.parametrize("page", ["queue", "review", "runs", "overview"])
def test_every_page_with_suspects_says_that_the_model_is_weak(open_app, page):
    app = open_app(page, project="weather")
    assert not app.exception
    assert WEAK in warned(app)
    assert "of 40 held-out examples" in warned(app)
    assert not app.success


def test_a_run_of_an_earlier_version_is_judged_by_what_it_has(engine, open_app):
    project = get_project(engine, "weather")
    run = current_run(engine, project.id)
    before = dict(run.config)
    older = {name: value for name, value in before.items() if name != "quality"}
    with writing(engine) as connection:
        connection.execute(update(RunRow).where(RunRow.id == run.id).values(config=older))
    try:
        (warning, *_) = judge_run(engine, project, current_run(engine, project.id)).warnings
        assert WEAK in warning
    finally:
        with writing(engine) as connection:
            connection.execute(update(RunRow).where(RunRow.id == run.id).values(config=before))


def test_keys_without_a_verdict_have_a_reason_and_no_others(engine):
    project = get_project(engine, "weather")
    run = current_run(engine, project.id)
    view = get_example(engine, fetch_page(engine, run.id, page_size=1).rows[0].example_id, run.id)
    for predicted, opponents, status in [(0, None, "kept"), (1, 1, "pending"), (1, 0, "pending")]:
        shown = replace(view, given_label=0, predicted_label=predicted, status=status)
        suggested = choose_suggested(shown, None)
        verdicts = list_verdicts(project, shown, suggested, opponents)
        choices = [*verdicts, *list_classes(project, shown)]
        reasons = explain_idle_keys(project, shown, choices, suggested, opponents)
        keys = {choice.key for choice in choices}
        assert keys | set(reasons) == set("kmoxas0123456789")
        assert not keys & set(reasons)
        assert all(
            reason.startswith(f"{key.upper()} does nothing here: ")
            for key, reason in reasons.items()
        )
    assert reasons["7"] == "7 does nothing here: the labels have the digits 1 to 2."


@pytest.mark.parametrize(
    ("rank", "total", "said"),
    [
        (1, 240, "top 0.4%"),
        (2, 240, "top 0.8%"),
        (1, 1438, "top 0.07%"),
        (144, 1438, "top 10%"),
        (1, 1, "top 100%"),
        (240, 240, "top 100%"),
        (1, 3, "top 33%"),
        (1, 10**9, "top 0.0001%"),
    ],
)
def test_a_place_is_the_share_that_is_at_least_as_suspect(rank, total, said):
    assert place(rank, total) == said
