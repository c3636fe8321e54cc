"""Every block of the page for users of other libraries runs, and gives what the page says."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from relabel.workspace import REPOSITORY_ROOT

PAGE = (REPOSITORY_ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that are there when all blocks have run."""
    names: dict[str, Any] = {"__name__": "page"}
    folder = tmp_path_factory.mktemp("page")
    with contextlib.chdir(folder):
        for number, block in enumerate(BLOCKS, start=1):
            exec(compile(block, f"coming-from.md, block {number}", "exec"), names)  # noqa: S102
    return names | {"folder": folder}


def test_every_block_runs(finished: dict[str, Any]) -> None:
    assert len(BLOCKS) == PAGE.count("```python") == 4
    shapes = {"scores": (40, 6), "on_the_set": (40,), "own": (40,), "other": (40, 6)}
    shapes |= {"effects": (40, 6), "pairwise": (40, 6), "self_scores": (40,), "cosines": (40, 6)}
    assert {name: tuple(finished[name].shape) for name in shapes} == shapes
    assert finished["best"].indices.shape == finished["found"].indices.shape == (6, 5)


def test_numbers_are_those_that_the_page_promises(finished: dict[str, Any]) -> None:
    model, train = finished["model"], finished["train"]
    # What captum's TracInCPFast computes: no bias, every rate 1.
    with contextlib.chdir(finished["folder"]):  # where the checkpoints lie
        vectors = finished["last"].vectors(train)
        weights = finished["as_captum"].vectors(train)
    assert weights.shape[1] == 2 * model[2].weight.numel()
    assert vectors.shape[1] == weights.shape[1] + 2 * model[2].bias.numel()
    # What kronfluence's identity strategy computes: dot products of gradients.
    exact = finished["final"].vectors(train) @ finished["final"].vectors(finished["test"]).T
    torch.testing.assert_close(finished["dot_products"], exact)
    assert list(finished["shares"]) == ["0", "2"]


def test_the_names_of_ours_in_the_tables_exist() -> None:
    from tracin_core import TracIn, list_methods

    cells = " ".join(re.findall(r"^\|.*\| (.*) \|$", PAGE, flags=re.MULTILINE))
    methods = set(re.findall(r'get_method\("(\w+)"\)', cells))
    assert methods
    assert methods <= set(list_methods())
    calls = set(re.findall(r"`(\w*influence\w*|proponents|opponents)(?:\(|`)", cells))
    assert {"proponents", "self_influence", "influence_by_module"} <= calls
    assert all(hasattr(TracIn, name) for name in calls)


def test_the_page_is_found_from_the_others() -> None:
    shown = (REPOSITORY_ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "coming-from.md" in shown
    assert Path(REPOSITORY_ROOT / "docs" / "coming-from.md").is_file()
