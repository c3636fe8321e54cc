"""Every block of the library's guide runs, in the order in which a reader meets them."""

from __future__ import annotations

import contextlib
import io
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

import tracin_core
from relabel.workspace import REPOSITORY_ROOT
from tracin_core import attribution
from tracin_core import errors as errors_module

safetensors = pytest.importorskip("safetensors.torch")
GUIDE = (REPOSITORY_ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE, flags=re.MULTILINE | re.DOTALL)
# Libraries whose networks the guide shows, which neither the engine nor the application needs.
SHOWN = {name: find_spec(name) is not None for name in ("torchvision", "transformers")}


def write_checkpoints(folder: Path) -> None:
    """What Lightning, a Trainer and safetensors would have left beside the reader's script."""
    state = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).state_dict()
    (folder / "exported").mkdir()
    safetensors.save_file(state, folder / "exported" / "model.safetensors")
    (folder / "lightning").mkdir()
    for step in (10, 20):
        content = {
            "state_dict": {f"net.{name}": value for name, value in state.items()},
            "optimizer_states": [{"param_groups": [{"lr": 0.05, "params": [0, 1, 2, 3]}]}],
            "global_step": step,
        }
        torch.save(content, folder / "lightning" / f"epoch=0-step={step}.ckpt")
        saved = folder / "trainer" / f"checkpoint-{step}"
        saved.mkdir(parents=True)
        torch.save(state, saved / "pytorch_model.bin")
        log = [{"step": step, "learning_rate": 0.02}]
        (saved / "trainer_state.json").write_text(
            json.dumps({"global_step": step, "log_history": log})
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that are there when all blocks have run, and what was printed."""
    folder = tmp_path_factory.mktemp("guide")
    write_checkpoints(folder)
    names: dict[str, Any] = {"__name__": "guide"}
    printed = io.StringIO()
    # The guide's own method is not offered to the tests that come after it.
    methods = patch.dict(attribution._METHODS)
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed), methods:
        for number, block in enumerate(BLOCKS, start=1):
            if any(f"from {name}" in block and not there for name, there in SHOWN.items()):
                continue
            exec(compile(block, f"library.md, block {number}", "exec"), names)  # noqa: S102
    return names | {"printed": printed.getvalue(), "folder": folder}


def test_every_block_runs(finished: dict[str, Any]) -> None:
    assert len(BLOCKS) == GUIDE.count("```python") == 19
    assert finished["suspects"].shape == (5,)


@pytest.mark.parametrize(
    ("library", "name", "count"), [("torchvision", "found", 8), ("transformers", "wrong", 16)]
)
def test_networks_of_other_libraries_are_scored(
    library: str, name: str, count: int, finished: dict[str, Any]
) -> None:
    if not SHOWN[library]:
        pytest.skip(f"{library} is not installed")
    assert finished[name].shape == (count,)
    assert (finished[name] > 0).all()


def test_questions_of_influences_have_the_answers_that_the_comments_name(
    finished: dict[str, Any],
) -> None:
    order = finished["scores"].topk(5, dim=0).indices.T
    assert finished["best"].indices.tolist() == order.tolist()
    assert finished["worst"].scores.shape == (20, 5)
    assert finished["for_the_set"].indices.shape == (5,)
    torch.testing.assert_close(finished["on_the_set"], finished["scores"].sum(1))
    assert finished["measured"].shape == finished["relative"].shape == (300, 20)
    assert finished["cosines"].abs().max() <= 1
    torch.testing.assert_close(sum(finished["shares"].values()), finished["own"])


def test_every_public_name_is_documented() -> None:
    missing = [name for name in tracin_core.__all__ if f"`{name}" not in GUIDE]
    assert missing == ["__version__"]
    assert all(getattr(tracin_core, name) is not None for name in tracin_core.__all__)
    errors = {n for n in dir(errors_module) if n.endswith("Error")}
    assert errors
    assert errors <= set(tracin_core.__all__)


def test_a_rule_of_the_readers_own_is_used(finished: dict[str, Any]) -> None:
    assert finished["ruled"].coverage["0.scale"].method == "rule"
    assert "\nScaled\n" in finished["printed"]


def test_results_have_the_shapes_that_the_comments_name(finished: dict[str, Any]) -> None:
    assert finished["own"].shape == (300,)
    assert {values.shape for values in finished["own_scores"].values()} == {(300,)}
    assert list(finished["methods"])[:: len(finished["methods"]) - 1] == ["tracincp", "last_loss"]
    assert torch.equal(
        finished["last_losses"], finished["tracin"].capture(finished["train"]).losses[-1]
    )
    assert finished["scores"].shape == (300, 20)
    assert finished["raised"].shape == (300, 20)
    assert finished["capture"].vectors.shape == (300, 256)
    assert finished["capture"].margins.shape == (2, 300)
    assert finished["train_vectors"].shape == (300, 512)
    assert finished["positions"].shape == finished["influences"].shape == (20, 10)


def test_figures_in_the_text_are_those_of_the_program(finished: dict[str, Any]) -> None:
    projection = finished["projection"]
    assert (projection.dim, round(projection.expected_error, 6)) == (800, 0.05)
    rates = finished["TracIn"](finished["model"], [finished["rated"]]).rates
    assert f"# {rates}" in GUIDE
    assert "has no learning rate" in finished["printed"]
    stated = finished["Projection"](dim=529, form="factored").expected_error
    assert f"{stated:.2f}" == "0.43"


def test_checkpoints_of_other_programs_are_scored_with_their_rates(
    finished: dict[str, Any],
) -> None:
    examples, model = finished["train"], finished["model"]
    with contextlib.chdir(finished["folder"]):
        for name, rate in (("lightning", 0.05), ("trainer", 0.02)):
            assert [found.step for found in finished[name]] == [10, 20]
            tracin = finished["TracIn"](model, finished[name])
            assert tracin.rates == [rate, rate]
            assert (tracin.self_influence(examples) > 0).all()
        stored = finished["TracIn"](model, [finished["stored"]])
        assert (stored.self_influence(examples) > 0).all()


def test_half_precision_is_as_near_as_the_text_says(finished: dict[str, Any]) -> None:
    error = finished["difference"] / finished["own"]
    assert error.abs().max() < 0.1


def test_the_table_of_errors_is_the_one_that_is_measured() -> None:
    from tests.tracin_core.capture.test_projections import MEASURED

    rows = re.findall(
        r"^\| `(?:Projection\(\)|form=\"(\w+)\").*?\| [\d.]+ \| ([\d.]+) \|", GUIDE, re.M
    )
    shown = {form or "sketch": float(error) for form, error in rows}
    assert shown == {
        "sketch": MEASURED["sketch"],
        "dense": MEASURED["dense signs"],
        "factored": MEASURED["factored signs"],
    }
    assert MEASURED["dense signs"] == MEASURED["dense Gaussian"]
    assert MEASURED["factored signs"] == MEASURED["factored Gaussian"]
