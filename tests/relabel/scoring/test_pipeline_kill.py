"""A process that is killed in the middle of its work leaves what the next call goes on from."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.db.runs import current_run
from relabel.fitting.saved import list_trainings
from relabel.runs.folder import RunFolder
from relabel.scoring.project import score_project, train_project
from tests.preloaded import Preloaded
from tests.relabel.scoring import small_projects
from tests.relabel.scoring.small_projects import QUICK, open_workspace


def kill_when(preloaded: Preloaded, root, work: str, reported: str) -> None:
    """Do some work in a process of its own and kill it when it reports a line."""
    process = preloaded.start("-m", "tests.relabel.scoring.small_projects", str(root), work)
    lines = iter(process.stdout.readline, "")
    assert any(line.strip() == reported for line in lines)
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_killed_while_training_and_while_scoring_it_ends_with_the_same_numbers(tmp_path, preloaded):
    runs = []
    for name in ("whole", "killed"):
        engine, workspace = open_workspace(tmp_path / name)
        small_projects.make_texts(engine, train=600)
        if name == "killed":
            # After the first of ten steps in the third of four epochs.
            kill_when(preloaded, tmp_path / name, "train", f"training {2 * 600 + 64}")
            (info,) = list_trainings(workspace, "weather")
            assert (info.finished, len(info.epochs)) == (False, 2)
        visited = []
        train_project(engine, workspace, "weather", QUICK, visited.append)
        if name == "killed":
            done = [report.done for report in visited if report.stage == "training"]
            assert done[:2] == [0, 2 * 600 + 64]  # the third epoch from its beginning
            kill_when(preloaded, tmp_path / name, "score", "scoring the test examples 20")
            assert current_run(engine, 1) is None
        run = score_project(engine, workspace, "weather", QUICK)
        runs.append(RunFolder(workspace.project_folder("weather") / run.folder))
        engine.dispose()
    whole, killed = runs
    assert [e.sha256 for e in whole.read_config().checkpoints] == [
        e.sha256 for e in killed.read_config().checkpoints
    ]
    for split in ("train", "test"):
        for layers in ("all", "last"):
            np.testing.assert_array_equal(
                whole.vectors(layers, split), killed.vectors(layers, split)
            )
        first, second = whole.read_all_signals(split), killed.read_all_signals(split)
        np.testing.assert_array_equal(first.loss, second.loss)
        np.testing.assert_array_equal(
            first.scores["self_influence_all"], second.scores["self_influence_all"]
        )
