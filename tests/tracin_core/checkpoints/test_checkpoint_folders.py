"""A folder of checkpoints is read in training order, whoever wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tracin_core.checkpoints.test_checkpoint_files import (
    STATE,
    build_network,
    lightning,
    take_step,
)
from tracin_core import find_checkpoints
from tracin_core.checkpoints import Checkpoint, read_rate, read_weights
from tracin_core.errors import CheckpointError


def names(folder: Path) -> list[tuple[str, int | None]]:
    return [(Path(str(c.weights)).name, c.step) for c in find_checkpoints(folder)]


def save(path: Path, content: Any = STATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def write_trainer(
    folder: Path, step: int, rate: float, *, history: list[dict[str, Any]], **files: Any
) -> None:
    """One ``checkpoint-*`` folder with the files that transformers 5.23 writes."""
    save(folder / "pytorch_model.bin")
    save(folder / "rng_state.pth", {"cpu": torch.zeros(3)})
    save(folder / "scheduler.pt", {"last_epoch": step, "_last_lr": [rate]})
    for name, content in files.items():
        save(folder / f"{name}.pt", content)
    state = {"epoch": step / 4, "global_step": step, "log_history": history, "max_steps": 12}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    (folder / "training_args.bin").write_bytes(b"a pickle that nobody opens")


HISTORY = [
    {"step": 4, "epoch": 1.0, "learning_rate": 3.75e-05, "loss": 1.1, "grad_norm": 0.5},
    {"step": 4, "epoch": 1.0, "eval_loss": 1.2},
    {"step": 8, "epoch": 2.0, "learning_rate": 2.08e-05, "loss": 1.0, "grad_norm": 0.2},
]


def test_numbers_in_the_names_give_the_order(tmp_path: Path) -> None:
    for number in (1000, 90, 200):
        save(tmp_path / f"resnet18-step_{number}.pt")
    assert names(tmp_path) == [(f"resnet18-step_{n}.pt", n) for n in (90, 200, 1000)]


def test_decimals_in_the_names_are_no_steps(tmp_path: Path) -> None:
    for epoch, loss in ((2, "0.93"), (10, "0.25")):
        save(tmp_path / f"epoch={epoch}-val_loss={loss}.ckpt")
    assert [step for _, step in names(tmp_path)] == [2, 10]


def test_steps_in_the_files_give_the_order_before_the_names(tmp_path: Path) -> None:
    for letter, step in zip("abc", (30, 10, 20), strict=True):
        save(tmp_path / f"{letter}.pt", {"state_dict": STATE, "step": step, "lr": 0.1})
    assert names(tmp_path) == [("b.pt", 10), ("c.pt", 20), ("a.pt", 30)]


@pytest.mark.parametrize("steps", [(900, 300, 100), (100, 100, 100)], ids=["falling", "the same"])
def test_steps_counted_within_an_epoch_come_after_the_epochs(
    steps: tuple[int, ...], tmp_path: Path
) -> None:
    for epoch, step in enumerate(steps):
        content = {"state_dict": STATE, "step": step, "epoch": epoch, "lr": 0.1}
        save(tmp_path / f"{'cab'[epoch]}.pt", content)
    assert names(tmp_path) == [(f"{letter}.pt", None) for letter in "cab"]


def test_epochs_in_the_names_come_before_steps_within_them(tmp_path: Path) -> None:
    for epoch, step in ((0, 900), (1, 300), (2, 100), (2, 900)):
        save(tmp_path / f"epoch{epoch}_step{step}.pt", {"net": STATE, "step": step})
    found = [name for name, _ in names(tmp_path)]
    assert found == [f"epoch{e}_step{s}.pt" for e, s in ((0, 900), (1, 300), (2, 100), (2, 900))]


def test_a_last_at_the_same_step_of_a_later_epoch_is_kept(tmp_path: Path) -> None:
    for epoch, name in enumerate(("epoch_0.pt", "epoch_1.pt", "last.pt")):
        save(tmp_path / name, {"net": STATE, "step": 100, "epoch": epoch})
    assert [name for name, _ in names(tmp_path)] == ["epoch_0.pt", "epoch_1.pt", "last.pt"]


def test_adapters_without_their_model_are_refused(tmp_path: Path) -> None:
    for step in (5, 10):
        save(tmp_path / f"checkpoint-{step}" / "adapter_model.bin", {"h.lora_A.weight": STATE})
    for place in (tmp_path, tmp_path / "checkpoint-5"):
        with pytest.raises(CheckpointError, match=r"holds the adapter adapter_model\.bin alone"):
            find_checkpoints(place)
    save(tmp_path / "checkpoint-5" / "pytorch_model.bin")
    assert names(tmp_path / "checkpoint-5") == [("pytorch_model.bin", None)]


def test_lightning_folders_leave_out_the_copy_of_the_last(tmp_path: Path) -> None:
    for epoch, step in enumerate((3, 6, 9)):
        path = tmp_path / "version_0" / "checkpoints" / f"epoch={epoch}-step={step}.ckpt"
        save(path, lightning((0.1 / 2**epoch,), step))
    save(path.with_name("last.ckpt"), lightning((0.025,), 9))
    (tmp_path / "version_0" / "hparams.yaml").write_text("lr: 0.1\n")
    found = find_checkpoints(tmp_path / "version_0")
    assert [c.step for c in found] == [3, 6, 9]
    assert [read_rate(c, build_network()) for c in found] == [0.1, 0.05, 0.025]
    for checkpoint in found:
        assert read_weights(checkpoint, build_network()).keys() == STATE.keys()


def test_a_last_that_is_the_only_one_of_its_step_is_kept(tmp_path: Path) -> None:
    save(tmp_path / "step-3.ckpt", lightning((0.1,), 3))
    save(tmp_path / "last.ckpt", lightning((0.1,), 5))
    assert names(tmp_path) == [("step-3.ckpt", 3), ("last.ckpt", 5)]


def test_a_best_copy_without_a_step_is_left_out_unless_it_is_alone(tmp_path: Path) -> None:
    save(tmp_path / "best.pt")
    assert names(tmp_path) == [("best.pt", None)]
    for epoch in (1, 2):
        save(tmp_path / f"epoch_{epoch}.pt")
    assert names(tmp_path) == [("epoch_1.pt", 1), ("epoch_2.pt", 2)]


def test_a_trainers_output_is_read_with_its_logged_rates(tmp_path: Path) -> None:
    for step, rate in ((12, 0.0), (8, 1.67e-05), (4, 3.33e-05)):
        history = [entry for entry in HISTORY if entry["step"] <= step]
        optimizer = take_step((rate, rate))
        write_trainer(
            tmp_path / f"checkpoint-{step}", step, rate, history=history, optimizer=optimizer
        )
    save(tmp_path / "pytorch_model.bin")  # the final model once more, without a step
    found = find_checkpoints(tmp_path)
    assert [c.step for c in found] == [4, 8, 12]
    # Logged at their own step; the optimizer's, as long as nothing was logged at that step.
    assert [read_rate(c, build_network()) for c in found] == [3.75e-05, 2.08e-05, 0.0]
    single = find_checkpoints(tmp_path / "checkpoint-8")
    assert [c.step for c in single] == [8]
    inside = Checkpoint(tmp_path / "checkpoint-8" / "pytorch_model.bin")
    assert read_rate(inside, build_network()) == 2.08e-05
    assert read_weights(found[0], build_network()).keys() == STATE.keys()


def test_a_trainer_without_an_optimizer_has_its_log(tmp_path: Path) -> None:
    write_trainer(tmp_path, 10, 0.0, history=HISTORY)
    assert read_rate(Checkpoint(tmp_path), build_network()) == 2.08e-05
    write_trainer(tmp_path, 10, 0.0, history=[])
    with pytest.raises(CheckpointError, match="no learning rate"):
        read_rate(Checkpoint(tmp_path), build_network())


def test_a_trainer_with_a_rate_for_each_group_is_asked_about(tmp_path: Path) -> None:
    write_trainer(tmp_path, 8, 0.1, history=HISTORY, optimizer=take_step((0.1, 0.001)))
    with pytest.raises(CheckpointError, match=r"0.1, 0.001 of different parameter groups"):
        read_rate(Checkpoint(tmp_path), build_network())


def test_a_pretrained_model_saved_in_shards_is_one_checkpoint(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = build_classifier(transformers)
    model.save_pretrained(tmp_path, max_shard_size=3000)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    [checkpoint] = find_checkpoints(tmp_path)
    found = read_weights(checkpoint, model)
    for name, value in model.state_dict().items():
        assert torch.equal(found[name], value)


def build_classifier(transformers: Any) -> Any:
    config = transformers.DistilBertConfig(
        vocab_size=20,
        dim=8,
        hidden_dim=16,
        n_heads=2,
        n_layers=1,
        max_position_embeddings=8,
        num_labels=3,
    )
    return transformers.DistilBertForSequenceClassification(config)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "does not exist"),
        ({}, "holds no checkpoints"),
        ({"notes.txt": STATE, "optimizer.pt": {}}, "holds no checkpoints"),
        ({"a.pt": STATE, "b.pt": STATE}, r"order .* unknown \(a.pt, b.pt\)"),
        ({"1.pt": {"step": 5, "net": STATE}, "2.pt": {"step": 5, "net": STATE}}, "the same"),
        ({"1.pt": STATE, "vocabulary.pt": {"size": 7}}, "vocabulary.pt holds size but no weights"),
        ({"1.pt": STATE, "2.pt": object}, "cannot be read safely"),
    ],
    ids=["no folder", "empty", "no weights", "no numbers", "a step twice", "odd file", "pickle"],
)
def test_folders_that_say_too_little_are_refused(
    files: dict[str, Any] | None, message: str, tmp_path: Path
) -> None:
    for name, content in (files or {}).items():
        save(tmp_path / name, content)
    folder = tmp_path if files is not None else tmp_path / "nowhere"
    with pytest.raises(CheckpointError, match=message):
        find_checkpoints(folder)
