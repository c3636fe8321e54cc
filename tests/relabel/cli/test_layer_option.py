"""The layers to score, chosen in the terminal."""

from __future__ import annotations

import pytest

from relabel.cli import main
from relabel.db.projects import get_project
from relabel.db.runs import current_run
from relabel.runs.folder import RunFolder
from relabel.scoring import estimate
from tests.relabel.scoring import small_projects

# A network of two layers; the one that is chosen for texts has a single layer.
TRAIN = ("train", "weather", "--model", "word_embedding", "--folds", "0", "--epochs", "4")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path))
    engine, workspace = small_projects.open_workspace(tmp_path)
    small_projects.make_texts(engine, wrong=(3, 20))
    yield engine, workspace
    engine.dispose()


def open_run(place) -> RunFolder:
    engine, workspace = place
    run = current_run(engine, get_project(engine, "weather").id)
    assert run is not None
    return RunFolder(workspace.project_folder("weather") / run.folder)


def test_the_last_layer_alone_is_scored_and_then_both(place, capsys):
    assert main([*TRAIN, "--layers", "last"]) == 0
    assert open_run(place).read_config().scored_layers == ("last",)
    capsys.readouterr()
    assert main(["queue", "weather", "--top", "2"]) == 0
    assert main(["queue", "weather", "--signal", "self_influence_all"]) == 2
    assert "is not ranked by 'self_influence_all'" in capsys.readouterr().err
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "recall of its indexes: last 1.000" in told.replace("\n", " ")
    assert main(["rescore", "weather"]) == 0
    assert open_run(place).read_config().scored_layers == ("last",)
    assert main(["score", "weather"]) == 0
    assert open_run(place).read_config().scored_layers == ("all", "last")
    assert main(["queue", "weather", "--signal", "self_influence_all"]) == 0


def test_the_last_layer_is_said_and_can_be_chosen(place, capsys):
    from relabel.triage.new_example import score_new_example

    assert main([*TRAIN]) == 0
    found = open_run(place).read_config()
    assert found.last_layer == ()
    (name,) = found.layers["last"]
    assert f"ranked by the last layer: {name}" in capsys.readouterr().out
    other = next(layer for layer in found.layers["all"] if layer != name)
    assert main(["score", "weather", "--last-layer", other]) == 0
    assert f"ranked by the last layer: {other}" in capsys.readouterr().out
    chosen = open_run(place)
    assert chosen.read_config().layers["last"] == chosen.read_config().last_layer == (other,)
    signals = chosen.read_all_signals("train")
    assert (
        signals.scores["self_influence_last"] < signals.scores["self_influence_all"] * (1 + 1e-5)
    ).all()
    made = score_new_example(chosen.root, text="sun and rain")
    assert made.vectors["last"].shape == chosen.vectors("last", "train").shape[1:]
    assert main(["rescore", "weather"]) == 0
    assert open_run(place).read_config().layers["last"] == (other,)
    assert main(["score", "weather"]) == 0
    assert open_run(place).read_config().layers["last"] == (name,)
    capsys.readouterr()
    assert main(["score", "weather", "--last-layer", "nowhere"]) != 0
    assert "no layer 'nowhere'" in capsys.readouterr().err


def test_other_layers_are_refused_with_the_choices(place, capsys):
    with pytest.raises(SystemExit):
        main(["score", "weather", "--layers", "all"])
    assert "both" in capsys.readouterr().err


def test_a_full_rescoring_is_said_before_it_starts(place, capsys, monkeypatch):
    steps = ["--steps", "1,2,3,4"]
    assert main([*TRAIN, "--no-score"]) == 0
    assert main(["score", "weather", *steps]) == 0
    assert main(["rescore", "weather"]) == 0
    assert "0 examples were computed" in capsys.readouterr().out
    monkeypatch.setattr(estimate, "EXACT_BYTES", 1000)
    assert main(["rescore", "weather"]) == 0
    told = capsys.readouterr().out
    assert told.index("so every example is computed again") < told.index(
        "80 examples were computed"
    )
    assert open_run(place).vectors("last", "train").shape == (60, 512)
