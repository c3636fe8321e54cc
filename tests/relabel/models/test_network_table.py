"""One table of built-in networks: a new one is one file, and everything offers it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from relabel.cli import main
from relabel.features.text import TextEncoder
from relabel.models.build import build_model
from relabel.models.builtin import available, model_config_from_json, suggest_model
from relabel.models.registry import (
    TrainingSuggestion,
    find_network,
    list_networks,
    register_network,
)
from relabel.runs.folder import RunFolder
from relabel.training.config import suggest_training
from relabel.workspace import REPOSITORY_ROOT, resolve_workspace
from tests.relabel.models.toy_network import NAME, TITLE, toy_network_added
from tracin_core.errors import ConfigurationError

GUIDE = (REPOSITORY_ROOT / "docs" / "your-own-model.md").read_text(encoding="utf-8")


@pytest.fixture
def toy(tmp_path: Path):
    folder = tmp_path / "networks"
    folder.mkdir()
    with toy_network_added(folder):
        yield


def test_a_network_of_one_file_is_offered_made_and_read_back(toy: None) -> None:
    assert available("text")[:3] == ("word_embedding", "small_transformer", NAME)
    assert NAME not in available("image")
    assert NAME not in available("text", "regression")
    config = suggest_model(TextEncoder(vocabulary=("a", "b")), 3, model=NAME, seed=5)
    again = model_config_from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    first, second = build_model(config), build_model(again)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], rtol=0, atol=0)
    assert first(torch.tensor([[2, 3, 0]])).shape == (1, 3)
    training = suggest_training("text", model=NAME)
    assert (training.epochs, training.learning_rate, training.device) == (7, 0.125, "cpu")


def test_it_is_gone_where_its_file_is(tmp_path: Path) -> None:
    with toy_network_added(tmp_path):
        saved = suggest_model(TextEncoder(vocabulary=("a",)), 2, model=NAME).to_json()
    assert NAME not in available("text")
    with pytest.raises(ConfigurationError, match="called 'word_counts', expected one of small_cnn"):
        model_config_from_json(saved)
    with pytest.raises(ConfigurationError, match="expected one of word_embedding, small_transf"):
        suggest_model(TextEncoder(vocabulary=("a",)), 2, model=NAME)


def test_a_network_that_cannot_do_the_task_is_refused(toy: None) -> None:
    encoder = TextEncoder(vocabulary=("a",))
    with pytest.raises(ConfigurationError, match="expected one of word_embedding, small_transf"):
        suggest_model(encoder, 1, model=NAME, task="regression")


def test_the_command_line_trains_scores_and_reads_it(
    toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path / "work"))
    table = tmp_path / "texts.csv"
    words = {"good": "nice kind warm", "bad": "ugly cold rude"}
    rows = [
        f"{words[label].split()[n % 3]} thing number {n},{label}"
        for n in range(40)
        for label in words
    ]
    table.write_text("\n".join(["text,label", *rows]))
    assert main(["import", "mine", str(table), "--yes"]) == 0
    assert main(["train", "mine", "--model", NAME, "--epochs", "2"]) == 0
    (folder,) = resolve_workspace().run_folder("mine", "x").parent.glob("*/run.json")
    config = RunFolder(folder.parent).read_config()
    assert config.model["name"] == NAME
    assert model_config_from_json(config.model).widths == (8,)
    capsys.readouterr()
    assert main(["queue", "mine", "--top", "1", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 64


def test_the_command_line_names_it_where_another_is_asked_for(toy: None) -> None:
    with pytest.raises(ConfigurationError, match=f"expected one of word_emb.*, {NAME}.*; weights"):
        suggest_model(TextEncoder(vocabulary=("a",)), 2, model="none")


@dataclass(frozen=True)
class Another:
    """A class that takes the name of a network that is there."""

    name: ClassVar[str] = "mlp"


OPTIONS: dict[str, Any] = {
    "title": "T",
    "description": "D",
    "build": "x:y",
    "training": TrainingSuggestion(epochs=1, learning_rate=0.1),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": ("table",)}, "two networks called 'mlp': MLPConfig and Another"),
        ({"kinds": ("text", "sound")}, r"kinds = \('text', 'sound'\)"),
        ({"kinds": ()}, r"kinds = \(\), expected one or more of image, text, table"),
        ({"kinds": ("text",), "takes": "pixels"}, "expected one or more of inputs, features, ngr"),
        ({"kinds": ("text",), "tasks": ()}, r"tasks = \(\)"),
        (
            {"kinds": ("text",), "tasks": ("ranking",)},
            "expected one or more of classification, reg",
        ),
    ],
)
def test_a_registration_that_cannot_work_is_refused(changes: Any, message: str) -> None:
    list_networks()
    with pytest.raises(ConfigurationError, match=message):
        register_network(**OPTIONS | changes)(Another)


def test_the_table_in_the_guide_is_the_table_of_the_program() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| ([\w, ]+) \| (.+?) \|$", GUIDE, re.MULTILINE)
    networks = list_networks()
    assert rows == [(n.name, n.title, ", ".join(n.kinds), n.description) for n in networks]
    for kind in ("image", "text", "table"):
        assert [kind in n.kinds for n in networks if n.is_suggested].count(True) == 1
    assert find_network("own") is None
    assert TITLE not in {network.title for network in networks}


def test_the_table_is_read_without_torch() -> None:
    code = (
        "import sys; from relabel.models.registry import list_networks; "
        "print(len(list_networks()), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(len(list_networks())), "False"]
