"""Layouts of programs that many people train with, and what of them does not fit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.tracin_core.checkpoints.test_checkpoint_files import (
    STATE,
    assert_same,
    build_network,
    take_step,
)
from tracin_core import Checkpoint, TracIn, find_checkpoints
from tracin_core.checkpoints import read_rate, read_weights
from tracin_core.errors import CheckpointError


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["model_0.pth", "model_1.pth", "checkpoint.pth"], ["model_0.pth", "model_1.pth"]),
        (["checkpoint0001.pth", "checkpoint.pth"], ["checkpoint0001.pth"]),
    ],
    ids=["torchvision", "DETR"],
)
def test_the_newest_once_more_under_a_name_without_number_is_left_out(
    files: list[str], expected: list[str], tmp_path: Path
) -> None:
    for name in files:
        epoch = 0 if "0.pth" in name else 1
        content = {"model": STATE, "epoch": epoch, "args": argparse.Namespace(lr=0.1)}
        torch.save(content, tmp_path / name)
    assert [Path(str(c.weights)).name for c in find_checkpoints(tmp_path)] == expected


def test_pth_tar_files_are_no_archives(tmp_path: Path) -> None:
    wrapped = {f"module.{name}": value for name, value in STATE.items()}
    for name, epoch in (("model_best", 3), ("checkpoint-7", 7), ("checkpoint-3", 3), ("last", 7)):
        content = {"epoch": epoch, "arch": "net", "state_dict": wrapped, "metric": np.float32(0.5)}
        torch.save(content, tmp_path / f"{name}.pth.tar")
    found = find_checkpoints(tmp_path)
    assert [(Path(str(c.weights)).name, c.step) for c in found] == [
        ("checkpoint-3.pth.tar", 3),
        ("checkpoint-7.pth.tar", 7),
    ]
    assert_same(read_weights(found[0], build_network()))


def test_a_best_of_an_epoch_of_its_own_is_one_more_checkpoint(tmp_path: Path) -> None:
    for name, epoch in (("model_best.pth", 87), ("checkpoint.pth", 90)):
        torch.save({"epoch": epoch, "state_dict": STATE}, tmp_path / name)
    found = [Path(str(c.weights)).name for c in find_checkpoints(tmp_path)]
    assert found == ["model_best.pth", "checkpoint.pth"]


@pytest.mark.parametrize("name", ["model_best.pth", "model-final.pth", "net.latest.pth"])
def test_copies_are_known_by_the_end_of_their_name_too(name: str, tmp_path: Path) -> None:
    for file in ("model_1.pth", "model_2.pth", name):
        torch.save(STATE, tmp_path / file)
    assert [c.step for c in find_checkpoints(tmp_path)] == [1, 2]


def test_an_accuracy_behind_the_epoch_does_not_give_the_order(tmp_path: Path) -> None:
    for epoch, accuracy in ((1, 50), (2, 70), (3, 65)):
        torch.save(STATE, tmp_path / f"net_epoch_{epoch}_acc_{accuracy}.pt")
    assert [c.step for c in find_checkpoints(tmp_path)] == [1, 2, 3]


def test_folders_that_accelerate_saved_are_read(tmp_path: Path) -> None:
    for epoch in (10, 9):
        (tmp_path / f"epoch_{epoch}").mkdir()
        torch.save(STATE, tmp_path / f"epoch_{epoch}" / "pytorch_model.bin")
        torch.save(take_step((0.1,)), tmp_path / f"epoch_{epoch}" / "optimizer.bin")
    torch.save(STATE, tmp_path / "pytorch_model.bin")  # the final model
    found = find_checkpoints(tmp_path)
    assert [c.step for c in found] == [9, 10]
    assert_same(read_weights(found[0], build_network()))


def test_a_file_alone_is_a_checkpoint(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "net_7.pt")
    torch.save(STATE, tmp_path / "net_8.pt")
    assert [c.step for c in find_checkpoints(tmp_path / "net_7.pt")] == [7]


def test_what_a_mac_leaves_beside_a_file_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "net_7.pt")
    (tmp_path / "._net_7.pt").write_bytes(b"\0\5\x16\7")
    assert [c.step for c in find_checkpoints(tmp_path)] == [7]


def test_files_of_optimizers_and_schedules_are_not_the_networks(tmp_path: Path) -> None:
    for epoch in (1, 2):
        torch.save(STATE, tmp_path / f"net_{epoch}.pt")
        torch.save(take_step((0.1,)), tmp_path / f"net_{epoch}_optim.pt")
        torch.save({"last_epoch": epoch, "_last_lr": [0.1]}, tmp_path / f"schedule_{epoch}.pt")
    assert [c.step for c in find_checkpoints(tmp_path)] == [1, 2]


OTHER = {name: value + 1 for name, value in STATE.items()}
SMALL = nn.Linear(2, 2).state_dict()
LAYOUTS: dict[str, dict[str, Any]] = {
    "two networks": {"generator": SMALL, "discriminator": STATE, "epoch": 1},
    "two networks of the same names": {
        "netG": {name: torch.zeros(2, 2) for name in STATE},
        "netD": STATE,
    },
    "two networks and noise": {"netG": SMALL, "netD": STATE, "noise": torch.zeros(3)},
    "an average beside a name of its own": {"weights": STATE, "ema": OTHER},
    "params and params_ema": {"params": STATE, "params_ema": OTHER},
    "options under the network's name": {"model": {"width": 5}, "weights": STATE},
    "parts": {
        "0": {"weight": STATE["0.weight"], "bias": STATE["0.bias"]},
        "1": {name[2:]: value for name, value in STATE.items() if name[0] == "1"},
        "2": {"weight": STATE["2.weight"], "bias": STATE["2.bias"]},
        "best_accuracy": torch.tensor(0.9),
    },
    "a compiled part": {name.replace("1.", "1._orig_mod."): v for name, v in STATE.items()},
    "a parallel part": {name.replace("1.", "1.module."): v for name, v in STATE.items()},
    "averaged by torch": {"n_averaged": torch.tensor(2)}
    | {f"module.{name}": value for name, value in STATE.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_network_is_found_beside_others(layout: str) -> None:
    assert_same(read_weights(Checkpoint(LAYOUTS[layout]), build_network()))


def test_two_networks_that_both_fit_are_not_guessed_between() -> None:
    with pytest.raises(CheckpointError, match=r"'student.', 'teacher.'.* file of its own"):
        read_weights(Checkpoint({"student": STATE, "teacher": OTHER}), build_network())


def test_a_network_with_a_part_called_module_keeps_its_names() -> None:
    model = nn.Sequential()
    model.add_module("module", nn.Linear(2, 3))
    assert_same(read_weights(Checkpoint(model.state_dict()), model), model.state_dict())


def test_counted_batches_may_be_missing_and_statistics_may_not() -> None:
    state = {name: value for name, value in STATE.items() if "num_batches" not in name}
    for prefix in ("", "module."):
        wrapped = {prefix + name: value for name, value in state.items()}
        assert_same(read_weights(Checkpoint(wrapped), build_network()))
    del state["1.running_mean"]
    with pytest.raises(CheckpointError, match=r"1.running_mean is missing"):
        read_weights(Checkpoint(state), build_network())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"total_ops": torch.zeros(1)}, r"total_ops is not part .* save the file again without"),
        ({"0.weight": torch.zeros(9, 4)}, r"shape \(9, 4\).* options it was trained with"),
        ({"0.weight": torch.zeros(5, 4, dtype=torch.int8)}, r"int8.* before the quantising"),
    ],
    ids=["more", "another size", "quantised"],
)
def test_what_does_not_fit_says_what_to_do(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_weights(Checkpoint(STATE | change), build_network())


def test_arrays_instead_of_tensors_are_named() -> None:
    with pytest.raises(CheckpointError, match=r"NumPy arrays are not read"):
        read_weights(Checkpoint({n: v.numpy() for n, v in STATE.items()}), build_network())


def test_a_rate_is_read_from_optim_and_from_a_numpy_number(tmp_path: Path) -> None:
    optimizer = take_step((0.3,))
    optimizer["param_groups"][0]["lr"] = np.float64(0.25)  # as a schedule in NumPy leaves it
    content = {"net": STATE, "optim": optimizer}
    torch.save(content, tmp_path / "a.pt")
    assert read_rate(Checkpoint(tmp_path / "a.pt"), build_network()) == 0.25
    optimizer["param_groups"][0]["lr"] = np.float32(0.5)
    assert read_rate(Checkpoint(content), build_network()) == 0.5


def test_weights_in_half_precision_are_scored_in_the_networks_own() -> None:
    half = {name: value.half() for name, value in STATE.items()}
    examples = [(torch.randn(4), torch.tensor(index % 3)) for index in range(4)]
    again = {name: value.to(STATE[name].dtype) for name, value in half.items()}
    scores = [
        TracIn(build_network(), [Checkpoint(state)], device="cpu", rates="ones").self_influence(
            examples
        )
        for state in (half, again)
    ]
    assert torch.equal(*scores)
    assert scores[0].dtype == torch.float32


def test_a_checkpoint_from_before_the_warm_up_adds_nothing(tmp_path: Path) -> None:
    for epoch, rate in enumerate((0.0, 0.1)):
        content = {"model": STATE, "optimizer": take_step((rate,)), "epoch": epoch}
        torch.save(content, tmp_path / f"net_{epoch}.pt")
    examples = [(torch.randn(4), torch.tensor(index % 3)) for index in range(4)]
    with pytest.warns(RuntimeWarning, match=r"rate 0 at 1 of 2 checkpoints \(net_0\.pt"):
        both = TracIn(build_network(), find_checkpoints(tmp_path), device="cpu")
    later = TracIn(build_network(), [Checkpoint(STATE, 0.1)], device="cpu")
    assert torch.equal(both.self_influence(examples), later.self_influence(examples))


def test_rates_that_are_all_zero_are_refused(tmp_path: Path) -> None:
    torch.save({"model": STATE, "optimizer": take_step((0.0,))}, tmp_path / "final.pt")
    with pytest.raises(CheckpointError, match=r"rate 0 at every checkpoint \(final\.pt\)"):
        TracIn(build_network(), find_checkpoints(tmp_path), device="cpu")
    found = TracIn(build_network(), find_checkpoints(tmp_path), device="cpu", rates="ones")
    assert found.rates == [1.0]
    by_name = [Checkpoint(STATE, {"": 0.0}), Checkpoint(STATE, 0)]
    with pytest.raises(CheckpointError, match="rate 0 at every checkpoint"):
        TracIn(build_network(), by_name, device="cpu")
