"""Checkpoints of every program are read as what they are, and never run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tracin_core import Checkpoint, TracIn
from tracin_core.checkpoints import read_rate, read_weights
from tracin_core.errors import CheckpointError


def build_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


class TiedNetwork(nn.Module):
    """An embedding that is also the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
        self.head.weight = self.table.weight

    def forward(self, indices: Tensor) -> Tensor:
        return self.head(self.table(indices).mean(1))


class Options:
    """A class of a person's own."""


STATE = build_network().state_dict()


def prefixed(*prefixes: str, state: Mapping[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + key: value for prefix in prefixes for key, value in state.items()}


def take_step(rates: tuple[float, ...], model: nn.Module | None = None) -> dict[str, Any]:
    """The state of a real optimizer with a parameter group for each rate."""
    parameters = list((model or build_network()).parameters())
    groups = [{"params": parameters[i :: len(rates)], "lr": rate} for i, rate in enumerate(rates)]
    optimizer = torch.optim.AdamW(groups)
    for value in parameters:
        value.grad = torch.ones_like(value)
    optimizer.step()
    return optimizer.state_dict()


def lightning(rates: tuple[float, ...] = (0.05,), step: int = 3) -> dict[str, Any]:
    """What Lightning 2.6 writes for a module that keeps the network and a weighted loss."""
    return {
        "epoch": 0,
        "global_step": step,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": prefixed("network.") | {"loss.weight": torch.ones(3)},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(1.1)}},
        "optimizer_states": [take_step(rates)],
        "lr_schedulers": [{"gamma": 0.5, "base_lrs": [0.1], "_last_lr": [0.05]}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1},
    }


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor] = STATE) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


LAYOUTS: dict[str, Any] = {
    "plain": STATE,
    "state_dict": {"state_dict": STATE, "epoch": 3},
    "model": {"model": STATE, "optimizer": {}},
    "model_state_dict": {"model_state_dict": STATE, "loss": 0.3},
    "net": {"net": STATE, "acc": 91.2},
    "twice nested": {"model": {"state_dict": STATE}},
    "data parallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "compiled in data parallel": prefixed("module._orig_mod."),
    "any common prefix": {"state_dict": prefixed("encoder.backbone.")},
    "lightning": lightning(),
    "lightning with a moving average beside it": {"state_dict": prefixed("ema.net.", "model.")},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_found_wherever_they_are_kept(layout: str, tmp_path: Path) -> None:
    torch.save(LAYOUTS[layout], tmp_path / "weights.pt")
    for source in (LAYOUTS[layout], tmp_path / "weights.pt", str(tmp_path / "weights.pt")):
        assert_same(read_weights(Checkpoint(source), build_network()))


def test_files_from_before_the_zip_format_are_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_same(read_weights(Checkpoint(tmp_path / "old.pth"), build_network()))


def test_a_wrapped_model_takes_the_weights_of_the_bare_one() -> None:
    wrapped = nn.DataParallel(build_network())
    assert_same(read_weights(Checkpoint(STATE), wrapped), prefixed("module."))


def test_two_copies_of_the_model_in_a_file_are_not_guessed_between() -> None:
    copies = prefixed("query.", "key.")
    with pytest.raises(CheckpointError, match=r"more than once, under 'key.', 'query.'"):
        read_weights(Checkpoint(copies), build_network())


def test_a_tied_weight_may_be_saved_under_any_of_its_names() -> None:
    model = TiedNetwork()
    weight = torch.randn(6, 4)
    for names in (["table.weight"], ["head.weight"], ["table.weight", "head.weight"]):
        for prefix in ("", "model."):
            state = {prefix + name: weight for name in names}
            assert_same(read_weights(Checkpoint(state), model), {"table.weight": weight})


def test_a_tied_weight_that_differs_from_itself_is_refused() -> None:
    state = {"table.weight": torch.zeros(6, 4), "head.weight": torch.ones(6, 4)}
    with pytest.raises(CheckpointError, match="one weight in the model"):
        read_weights(Checkpoint(state), TiedNetwork())


def test_safetensors_are_read_with_what_their_header_says(tmp_path: Path) -> None:
    torch_files = pytest.importorskip("safetensors.torch")
    torch_files.save_file(STATE, tmp_path / "a.safetensors", {"learning_rate": "1e-2"})
    checkpoint = Checkpoint(tmp_path / "a.safetensors")
    assert_same(read_weights(checkpoint, build_network()))
    assert read_rate(checkpoint, build_network()) == 0.01


def test_a_damaged_safetensors_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(CheckpointError, match="no sound safetensors file"):
        read_weights(Checkpoint(tmp_path / "a.safetensors"), build_network())


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_sharded_weights_are_put_together(kind: str, tmp_path: Path) -> None:
    stem = "model" if kind == "safetensors" else "pytorch_model"
    names = list(STATE)
    shards = {f"{stem}-0000{i + 1}-of-00002.{kind}": names[i::2] for i in range(2)}
    for shard, held in shards.items():
        part = {name: STATE[name] for name in held}
        if kind == "safetensors":
            pytest.importorskip("safetensors.torch").save_file(part, tmp_path / shard)
        else:
            torch.save(part, tmp_path / shard)
    index = tmp_path / f"{stem}.{kind}.index.json"
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for source in (tmp_path, index):
        assert_same(read_weights(Checkpoint(source), build_network()))
    (tmp_path / next(iter(shards))).unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        read_weights(Checkpoint(tmp_path), build_network())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "holds a list"),
        ("{}", "no weight_map"),
        ('{"weight_map": {"a": "../elsewhere.bin"}}', "beside it"),
    ],
)
def test_an_index_that_cannot_be_right_is_refused(
    content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "pytorch_model.bin.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_weights(Checkpoint(tmp_path), build_network())


RATES: dict[str, tuple[Any, float]] = {
    "learning_rate": ({"state_dict": STATE, "learning_rate": 0.2}, 0.2),
    "lr": ({"model": STATE, "lr": 1}, 1.0),
    "lightning": (lightning((0.05, 0.05)), 0.05),
    "optimizer": ({"model": STATE, "optimizer": take_step((0.3,))}, 0.3),
    "optimizer_state_dict": ({"net": STATE, "optimizer_state_dict": take_step((0.3,))}, 0.3),
    "a rate in a tensor": (
        {"net": STATE, "optimizer": {"param_groups": [{"lr": torch.tensor(0.25)}]}},
        0.25,
    ),
}


@pytest.mark.parametrize("name", RATES)
def test_the_learning_rate_is_read_where_the_file_has_it(name: str, tmp_path: Path) -> None:
    content, expected = RATES[name]
    torch.save(content, tmp_path / "a.pt")
    assert read_rate(Checkpoint(content), build_network()) == expected
    assert read_rate(Checkpoint(tmp_path / "a.pt"), build_network()) == expected
    assert read_rate(Checkpoint(content, learning_rate=0.7), build_network()) == 0.7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (STATE, "has no learning rate"),
        ({"state_dict": STATE, "hyper_parameters": {"lr": 0.1}}, "has no learning rate"),
        ({"lr": torch.tensor(0.1), "step": torch.tensor(3)}, "has no learning rate"),
        (lightning((0.1, 0.01)), r"learning rates 0.1, 0.01 of different parameter groups"),
        ({"state_dict": STATE, "lr": float("inf")}, "expected a finite number"),
    ],
    ids=["none", "only the first", "a weight of that name", "two groups", "infinite"],
)
def test_the_learning_rate_is_asked_for_where_it_is_not(
    content: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        TracIn(build_network(), [Checkpoint(content)], device="cpu")
    assert TracIn(build_network(), [Checkpoint(content)], device="cpu", rates="ones").rates == [1.0]


def test_a_file_that_needs_a_program_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    torch.save({"state_dict": STATE, "options": Options()}, path)
    with pytest.raises(CheckpointError, match=r"test_checkpoint_files.Options.*add_safe_globals"):
        read_weights(Checkpoint(path), build_network())
    with torch.serialization.safe_globals([Options]):
        assert_same(read_weights(Checkpoint(path), build_network()))


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(build_network(), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"Save model.state_dict\(\)"):
        read_weights(Checkpoint(tmp_path / "model.pt"), build_network())


def test_a_folder_without_weights_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"find_checkpoints\(folder\)"):
        read_weights(Checkpoint(tmp_path), build_network())


def test_a_mapped_file_gives_the_scores_of_its_state_dict(tmp_path: Path) -> None:
    torch.save(lightning(), tmp_path / "a.ckpt")
    examples = [(torch.randn(4), torch.tensor(i % 3)) for i in range(4)]
    model = build_network()
    from_file = TracIn(model, [Checkpoint(tmp_path / "a.ckpt")], device="cpu")
    expected = TracIn(model, [Checkpoint(STATE, 0.05)], device="cpu")
    assert torch.equal(from_file.self_influence(examples), expected.self_influence(examples))
