"""Building a demo: idempotent, resumable after a kill at any moment, never half visible."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import open_database
from relabel.db.examples import get_example
from relabel.db.projects import create_project, get_project, list_projects
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.demos.build import build_demo
from relabel.errors import NotFoundError
from relabel.runs.folder import RunFolder
from relabel.workspace import Workspace, resolve_workspace
from tests.preloaded import Preloaded, PreloadedProcess
from tests.relabel.jobs.workspaces import find_run, own_digits, replace_file
from tracin_core.errors import ConfigurationError


@pytest.fixture
def own(built_demos, tmp_path) -> Workspace:
    return own_digits(built_demos, tmp_path / "own")


def test_a_finished_demo_is_left_alone(own):
    before = sorted((path, path.stat().st_mtime_ns) for path in own.root.rglob("projects/*/*"))
    built = build_demo("digits", own)
    after = sorted((path, path.stat().st_mtime_ns) for path in own.root.rglob("projects/*/*"))
    assert not built.built
    assert before == after


def test_other_planted_errors_need_another_workspace(own):
    with pytest.raises(
        ConfigurationError, match=r"seed 0 and noise 0\.1.*Choose another workspace"
    ):
        build_demo("digits", own, seed=1)


def test_a_project_of_the_same_name_is_not_overwritten(tmp_path):
    own = resolve_workspace(tmp_path)
    engine = open_database(own.database_url)
    create_project(engine, slug="digits", title="Mine", kind="image", classes=["a", "b"])
    engine.dispose()
    with pytest.raises(ConfigurationError, match="it is not this demo"):
        build_demo("digits", own)


def test_an_unknown_demo_names_the_known_ones(tmp_path):
    with pytest.raises(NotFoundError, match="digits, docs"):
        build_demo("cats", resolve_workspace(tmp_path))


def test_a_damaged_run_is_scored_again_and_decisions_stay(own):
    engine = open_database(own.database_url)
    project = get_project(engine, "digits")
    run = current_run(engine, project.id)
    suspect = fetch_page(engine, run.id, page_size=1).rows[0]
    record_decision(
        engine,
        NewDecision(
            example_id=suspect.example_id, expected_version=0, reviewer="ann", action="exclude"
        ),
    )
    probabilities = np.array(RunFolder(find_run(own)).probabilities("train"))
    replace_file(find_run(own) / "vectors-last-train.npy", b"garbage")
    built = build_demo("digits", own)
    assert built.built
    assert built.run_key == run.key
    assert list(RunFolder(find_run(own)).find_problems()) == []
    np.testing.assert_array_equal(RunFolder(find_run(own)).probabilities("train"), probabilities)
    assert current_run(engine, project.id).id == run.id
    assert get_example(engine, suspect.example_id, run.id).status == "excluded"
    engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["truth.parquet", "media", "runs", "training"])
def test_what_is_lost_is_made_again(own, lost):
    path = own.project_folder("digits") / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    build_demo("digits", own)
    assert path.exists() or lost == "training"  # a finished run needs no training
    assert list(RunFolder(find_run(own)).find_problems()) == []
    assert not build_demo("digits", own).built


def start_demo(preloaded: Preloaded, root: Path) -> PreloadedProcess:
    return preloaded.start("-m", "relabel", "--workspace", str(root), "demo", "digits")


def signals_of(own: Workspace) -> dict[str, np.ndarray]:
    signals = RunFolder(find_run(own)).read_all_signals("train")
    return {"loss": signals.loss, "self_influence_last": signals.scores["self_influence_last"]}


# The last line of a stage that is waited for, and how many seconds later the kill comes: while the
# pictures are written, in the training, in the scoring. More moments: test_pipeline_kill.
KILLS = [("making the data ...", 0.3), ("training ...", 0), ("entering the results ...", 0)]


@pytest.mark.slow
def test_a_demo_killed_again_and_again_is_finished_by_one_of_two_with_the_same_numbers(
    built_demos, tmp_path, preloaded
):
    own = resolve_workspace(tmp_path / "killed")
    for stage, seconds in KILLS:
        process = start_demo(preloaded, own.root)
        assert any(stage in line for line in process.stderr)
        time.sleep(seconds)
        process.kill()
        process.communicate()
        assert visible_projects(own) <= {"digits"}
    # Of two at once the second waits for the first, says so, and finds nothing left to do.
    both = start_demo(preloaded, own.root), start_demo(preloaded, own.root)
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum("waiting for another process" in errors for _, errors in outputs) == 1
    assert sum("already there" in shown for shown, _ in outputs) == 1
    assert visible_projects(own) == {"digits"}
    run = find_run(own)
    assert list(RunFolder(run).find_problems()) == []
    assert list((own.project_folder("digits") / "runs").iterdir()) == [run]
    expected = signals_of(own_digits(built_demos, tmp_path / "expected"))
    for name, values in signals_of(own).items():
        np.testing.assert_array_equal(values, expected[name])


def visible_projects(own: Workspace) -> set[str]:
    """Return what the pages would list, each with a run."""
    if not (own.root / "tracin.db").exists():
        return set()
    engine = open_database(own.database_url)
    try:
        return {project.slug for project in list_projects(engine)}
    finally:
        engine.dispose()
