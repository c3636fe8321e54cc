"""Models are asked that have not seen an example, whoever trained the network; or it is said."""

from __future__ import annotations

import textwrap

import pytest
import torch
from torch import nn

from relabel.cli import main
from relabel.crossval import run as running
from relabel.db.queue import fetch_page
from relabel.fitting.options import WorkOptions
from relabel.fitting.stored import read_project
from relabel.runs.folder import RunFolder
from relabel.runs.held_out import SUMMARY_FILE, open_of_run
from relabel.scoring.project import score_project, train_project
from relabel.triage.model_quality import judge_run
from relabel.triage.signals import choose_default_signal
from tests.relabel.scoring import small_projects
from tests.relabel.scoring.small_projects import WORDS, open_workspace
from tracin_core.errors import ConfigurationError

WRONG = (3, 20, 41)
NETWORK = f"""
    import torch
    from torch import nn
    from tracin_core import OwnModel
    WORDS = {[*WORDS["sun"], *WORDS["rain"]]}
    def count(text):
        return torch.tensor([float(text.split().count(word)) for word in WORDS])
    def build(num_classes):
        return OwnModel(nn.Linear(len(WORDS), num_classes), count)
"""


@pytest.fixture
def place(tmp_path):
    engine, workspace = open_workspace(tmp_path / "workspace")
    project = small_projects.make_texts(engine, wrong=WRONG)
    (tmp_path / "net.py").write_text(textwrap.dedent(NETWORK))
    (tmp_path / "saved").mkdir()
    model = nn.Linear(10, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0] * 5 + [0.0] * 5, [0.0] * 5 + [1.0] * 5]))
        model.bias.zero_()
    torch.save({"model": model.state_dict(), "step": 10}, tmp_path / "saved" / "last.pt")
    yield engine, workspace, project
    engine.dispose()


def score(place, root, **options):
    return score_project(
        *place[:2],
        place[2].slug,
        WorkOptions(
            model=f"{root / 'net.py'}:build",
            checkpoints=str(root / "saved"),
            run_my_code=True,
            **options,
        ),
    )


def test_checkpoints_of_ones_own_are_scored_beside_models_that_have_not_seen_the_examples(
    place, tmp_path
):
    engine, workspace, project = place
    run = score(place, tmp_path, folds=2)
    assert choose_default_signal(run.signals) == "suspicion"
    found = {row.position for row in fetch_page(engine, run.id, signal="suspicion").rows[:3]}
    assert found == set(WRONG)
    assert any("TracIn explains" in said for said in judge_run(engine, project, run).unseen)
    again = score(place, tmp_path, folds=0)  # nobody is to be asked
    assert again.key == run.key
    assert "suspicion" not in again.signals
    assert open_of_run(RunFolder(workspace.project_folder(project.slug) / again.folder)) is None
    with pytest.raises(ConfigurationError, match="Found no file"):
        score(place, tmp_path, features="static:/nowhere.vec")


def test_why_nobody_could_be_asked_is_said_with_the_run(place, tmp_path, monkeypatch):
    engine, _workspace, project = place
    monkeypatch.setattr(running, "list_candidates", lambda kind, task: ())
    run = score(place, tmp_path)
    (said,) = judge_run(engine, project, run).unseen
    assert said.startswith("No models were asked that have not seen an example, so suspects are")
    assert "there is none for them" in said


def test_a_network_that_was_named_is_trained_though_nobody_can_be_asked(place, monkeypatch):
    engine, workspace, project = place
    monkeypatch.setattr(running, "list_candidates", lambda kind, task: ())
    named = WorkOptions(model="word_embedding", epochs=1)
    training = train_project(engine, workspace, project.slug, named)
    assert training.is_dir()
    with pytest.raises(ConfigurationError, match="Choose a model by name"):
        train_project(engine, workspace, project.slug, WorkOptions(epochs=1))


def test_who_asks_nobody_gets_nothing_of_an_earlier_training(place):
    engine, workspace, project = place
    options = {"model": "word_embedding", "epochs": 1}
    asked = train_project(engine, workspace, project.slug, WorkOptions(folds=2, **options))
    assert (asked / SUMMARY_FILE).exists()
    alone = train_project(engine, workspace, project.slug, WorkOptions(folds=0, **options))
    assert alone == asked
    assert not (alone / SUMMARY_FILE).exists()


def test_labels_that_are_all_the_same_can_be_asked_of_nobody(tmp_path):
    engine, workspace = open_workspace(tmp_path)
    project = small_projects.make_labelled(engine, [0] * 5, ("a", "b"))
    examples = read_project(engine, project, workspace.media_folder(project.slug))
    folder = workspace.project_folder(project.slug)
    with pytest.raises(running.NothingToAskError, match="Found 1 different label among"):
        running.cross_validate(folder, project, examples, WorkOptions())
    engine.dispose()


def test_options_of_an_asking_need_checkpoints_of_ones_own(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path / "workspace"))
    assert main(["score", "weather", "--folds", "3", "--allow-download"]) != 0
    said = capsys.readouterr().err.replace("\n", " ")
    assert "--folds, --allow-download without --checkpoints" in said
    assert "train" in said
