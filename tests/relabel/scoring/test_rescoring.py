"""After a decision, only the example it was about is computed again."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.db.decisions.recording import NewDecision, record_decision, undo_decision
from relabel.db.engine import open_database
from relabel.db.examples import get_example
from relabel.db.projects import create_project, get_project
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.demos.build import build_demo
from relabel.errors import NotFoundError
from relabel.runs.folder import RunFolder
from relabel.scoring.project import rescore_project
from tests.relabel.jobs.workspaces import own_digits


@pytest.fixture
def own(built_demos, tmp_path):
    return own_digits(built_demos, tmp_path / "own")


@pytest.fixture
def engine(own):
    engine = open_database(own.database_url)
    yield engine
    engine.dispose()


def test_a_relabelled_suspect_is_computed_alone_and_an_undo_computes_nothing(own, engine):
    first = current_run(engine, get_project(engine, "digits").id)
    suspect = fetch_page(engine, first.id, page_size=1).rows[0]
    decision = record_decision(
        engine,
        NewDecision(
            example_id=suspect.example_id,
            expected_version=0,
            reviewer="ann",
            action="relabel",
            new_label=suspect.predicted_label,
        ),
    )
    rescored = rescore_project(engine, own, "digits")
    assert rescored.examples_computed == 1
    assert rescored.rows_computed == len(first.checkpoints)
    assert rescored.run.key != first.key
    assert current_run(engine, first.project_id).id == rescored.run.id
    seen = get_example(engine, suspect.example_id, rescored.run.id)
    assert seen.scores["mean_loss"].value < suspect.score
    assert seen.scores["suspicion"].rank > 1
    old, new = (
        RunFolder(own.project_folder("digits") / run.folder) for run in (first, rescored.run)
    )
    assert list(new.find_problems()) == []
    changed = (old.read_all_signals("train").loss != new.read_all_signals("train").loss).any(axis=0)
    assert np.flatnonzero(changed).tolist() == [suspect.position]
    assert not build_demo("digits", own).built  # the new run is as good as the demo's own

    undo_decision(engine, decision.id, reviewer="ann")
    back = rescore_project(engine, own, "digits")
    assert (back.rows_computed, back.run.id) == (0, first.id)
    assert get_example(engine, suspect.example_id, back.run.id).scores["suspicion"].rank == 1


def test_a_project_without_scores_says_so(own, engine):
    create_project(engine, slug="mine", title="Mine", kind="image", classes=["a", "b"])
    with pytest.raises(NotFoundError, match="has no scores yet"):
        rescore_project(engine, own, "mine")
