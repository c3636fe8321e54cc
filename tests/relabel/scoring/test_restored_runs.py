"""Runs over words and over frozen features, restored from a backup, and numbers over words."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.examples import NewExample, add_examples, find_by_positions
from relabel.db.projects import create_project
from relabel.db.queue import QueueFilter, fetch_page
from relabel.db.runs import current_run
from relabel.features.encoding import encoder_from_json
from relabel.fitting.options import WorkOptions
from relabel.projects.backup import backup_project
from relabel.projects.restore import restore_project
from relabel.runs.folder import RunFolder
from relabel.runs.held_out import find_problems, open_of_run
from relabel.scoring.project import rescore_project, score_project, train_project
from relabel.triage.evidence import open_evidence
from relabel.triage.new_example import score_new_example
from relabel.triage.words import split_influence
from tests.relabel.scoring import small_projects
from tests.relabel.scoring.small_projects import WORDS, open_workspace

WRONG = (3, 20, 41)


@pytest.mark.parametrize("features", ["auto", "static"])
def test_a_restored_run_shows_what_it_showed_and_can_be_scored_again(tmp_path, features):
    if features == "static":
        (tmp_path / "words.txt").write_text(
            "".join(f"{w} {k} {1 - k}\n" for k, each in enumerate(WORDS.values()) for w in each)
        )
        features = f"static:{tmp_path / 'words.txt'}"
    model = "ngram_linear" if features == "auto" else "linear_head"
    options = WorkOptions(model=model, features=features, epochs=2, folds=2)
    engine, workspace = open_workspace(tmp_path / "first")
    project = small_projects.make_texts(engine, wrong=WRONG)
    train_project(engine, workspace, project.slug, options)
    run = score_project(engine, workspace, project.slug, options)
    path = backup_project(engine, workspace, project.slug, tmp_path / "weather.zip")
    first = workspace.project_folder(project.slug) / run.folder
    seen = score_new_example(first, text="a warm yellow morning").predicted
    shown = open_evidence(first).neighbours("train", 3, side="proponents", k=3)
    engine.dispose()

    engine, workspace = open_workspace(tmp_path / "second")
    again = restore_project(engine, workspace, path)
    restored = current_run(engine, again.id)
    folder = workspace.project_folder(again.slug) / restored.folder
    assert list(find_problems(RunFolder(folder))) == []
    assert open_of_run(RunFolder(folder)).opinion(3, 0).label == 1
    page = fetch_page(engine, restored.id, filter=QueueFilter(suggestion_differs=True))
    assert {row.position for row in page.rows} == set(WRONG)
    assert open_evidence(folder).neighbours("train", 3, side="proponents", k=3) == shown
    assert score_new_example(folder, text="a warm yellow morning").predicted == seen == 0
    if model == "ngram_linear":
        encoder = encoder_from_json(dict(RunFolder(folder).read_config().encoder))
        shared = split_influence(encoder, "a warm morning", "warm and bright")
        assert [term.term for term in shared.terms] == ["warm"]
    (view,) = find_by_positions(engine, again.id, None, "train", [3])
    record_decision(engine, NewDecision(view.id, view.version, "ann", "relabel", new_label=1))
    rescored = rescore_project(engine, workspace, again.slug)
    assert rescored.examples_computed == 1
    assert rescored.run.config["suggests_labels"]
    engine.dispose()


def test_numbers_are_told_by_the_words_of_texts(tmp_path):
    engine, workspace = open_workspace(tmp_path)
    project = create_project(
        engine, slug="stars", title="Stars", kind="text", task="regression", target="stars"
    )
    rng, examples = np.random.default_rng(0), []
    for split, count in (("train", 80), ("test", 60)):
        for position in range(count):
            kind = position % 2
            value = 1.0 + 4 * kind + float(rng.normal(0, 0.1))
            if split == "train" and position in WRONG:
                value *= 10
            examples.append(
                NewExample(
                    key=f"{split}-{position}",
                    split=split,
                    position=position,
                    given_value=value,
                    text=" ".join(rng.choice(list(WORDS.values())[kind], 4)),
                )
            )
    add_examples(engine, project.id, examples)
    options = WorkOptions(model="ngram_linear", folds=2, epochs=4)
    train_project(engine, workspace, project.slug, options)
    run = score_project(engine, workspace, project.slug, options)
    assert run.config["model"]["name"] == "ngram_linear"
    rows = fetch_page(engine, run.id, signal="suspicion", page_size=3).rows
    assert {row.position for row in rows} == set(WRONG)
    found = score_new_example(
        workspace.project_folder(project.slug) / run.folder, text="wet grey cloud"
    )
    assert found.predicted_value == pytest.approx(5, abs=1.5)
    engine.dispose()
