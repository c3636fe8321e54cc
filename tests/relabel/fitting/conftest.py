"""A small project of texts and a network of a person's own for it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from relabel.cli import main
from relabel.db.engine import open_database
from relabel.workspace import Workspace, resolve_workspace

NET = """
    import os
    from pathlib import Path
    import torch
    from torch import nn
    from tracin_core import OwnModel
    WORDS = ("nice", "kind", "ugly", "cold")
    def bag(text):
        return torch.tensor([float(text.count(word)) for word in WORDS])
    def build(num_classes):
        return OwnModel(nn.Linear(4, num_classes), bag)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path / "work"))
    made = resolve_workspace()
    made.prepare()
    return made


@pytest.fixture
def engine(place: Workspace):
    opened = open_database(place.database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def net(tmp_path: Path) -> Path:
    file = tmp_path / "net.py"
    file.write_text(textwrap.dedent(NET))
    return file


@pytest.fixture
def mine(place: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A small project of texts, imported by the command."""
    table = tmp_path / "texts.csv"
    words = {"good": ("nice", "kind"), "bad": ("ugly", "cold")}
    rows = [f"{words[label][n % 2]} thing {n},{label}" for n in range(40) for label in words]
    table.write_text("\n".join(["text,label", *rows]))
    assert main(["import", "mine", str(table), "--yes"]) == 0
    capsys.readouterr()
    return "mine"
