"""``evaluate`` on imported data: truth of all or of some, labels and numbers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from relabel.cli import main
from relabel.db.bulk import next_positions
from relabel.db.engine import open_database
from relabel.db.examples import find_by_positions
from relabel.db.projects import get_project
from relabel.db.registration import register_run
from relabel.importers.ingest.project import import_project
from relabel.importers.ingest.truth import read_planted
from relabel.importers.options import ImportOptions
from relabel.workspace import Workspace, resolve_workspace
from tests.relabel.importers.builders import texts


@pytest.fixture
def own(tmp_path) -> Workspace:
    own = resolve_workspace(tmp_path / "workspace")
    own.prepare()
    return own


def import_and_score(own: Workspace, path, **options) -> None:
    """Import data, and register a run whose loss finds every planted error first."""
    engine = open_database(own.database_url)
    try:
        import_project(engine, own, "mine", path, ImportOptions(**options))
        project = get_project(engine, "mine")
        counts = next_positions(engine, project.id)
        views = find_by_positions(engine, project.id, None, "train", range(counts["train"]))
        planted = read_planted(own.truth_path("mine"))
        wrong = np.array([float(view.key in planted) for view in views])
        is_regression = project.task == "regression"
        columns = 1 if is_regression else 3
        register_run(
            engine,
            project.id,
            key="first",
            folder="runs/first",
            config={},
            checkpoints=[],
            scores={
                "self_influence": -np.arange(len(views)),
                "mean_loss": wrong,
                "mean_margin": -wrong,
            },
            predictions={s: (np.zeros(counts[s]),) * columns for s in counts},
        )
    finally:
        engine.dispose()


def evaluate(own: Workspace, capsys) -> dict:
    assert main(["--workspace", str(own.root), "evaluate", "mine", "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_planted_labels_are_evaluated_with_loss_and_margin(own, tmp_path, capsys):
    import_and_score(own, texts(tmp_path / "t.csv", 100), plant=0.1)
    answer = evaluate(own, capsys)
    assert (answer["examples"], answer["wrong"], answer["unknown"]) == (80, 8, 0)
    signals = {entry["signal"]: entry for entry in answer["signals"]}
    assert signals["mean_loss"]["auroc"] == 1.0
    assert signals["mean_margin"]["auroc"] == 0.0
    assert signals["random"]["auroc"] == 0.5
    assert main(["--workspace", str(own.root), "evaluate", "mine"]) == 0
    shown = capsys.readouterr().out
    assert "found in 30%" in shown
    assert "8 of 80 train labels are wrong" in shown


def test_planted_numbers_are_evaluated(own, tmp_path, capsys):
    data = pd.DataFrame({"x": range(100), "z": [n % 7 for n in range(100)]})
    data.assign(y=[n / 3 + 1 for n in range(100)]).to_csv(tmp_path / "d.csv", index=False)
    import_and_score(own, tmp_path / "d.csv", target="y", plant=0.1)
    answer = evaluate(own, capsys)
    assert (answer["examples"], answer["wrong"]) == (80, 8)
    assert {e["signal"]: e["auroc"] for e in answer["signals"]}["mean_loss"] == 1.0
    assert main(["--workspace", str(own.root), "evaluate", "mine"]) == 0
    assert "8 of 80 train numbers are wrong" in capsys.readouterr().out


def test_examples_without_a_known_truth_are_left_out_and_counted(own, tmp_path, capsys):
    data = pd.DataFrame({"text": [f"a text, number {n}" for n in range(50)]})
    data["label"] = ["a", "b"] * 25
    data["gold"] = [("a" if n < 10 else "b") if n < 20 else "" for n in range(50)]
    data["part"] = "train"
    data.loc[45:, "part"] = "test"
    data.to_csv(tmp_path / "d.csv", index=False)
    import_and_score(own, tmp_path / "d.csv", truth="gold", split="part")
    answer = evaluate(own, capsys)
    assert (answer["examples"], answer["wrong"], answer["unknown"]) == (20, 10, 25)
    assert main(["--workspace", str(own.root), "evaluate", "mine"]) == 0
    assert "Of 25 more the truth is not" in " ".join(capsys.readouterr().out.split())


def test_data_without_truth_says_how_to_get_one(own, tmp_path, capsys):
    import_and_score(own, texts(tmp_path / "t.csv"))
    assert main(["--workspace", str(own.root), "evaluate", "mine"]) == 2
    assert "--truth COLUMN or --plant SHARE" in capsys.readouterr().err
