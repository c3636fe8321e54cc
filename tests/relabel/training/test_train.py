from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from relabel.errors import RunFolderError
from relabel.training.loop import train
from relabel.training.storage import RESULT_FILE, STATE_FILE, load_json, load_tensors
from tests.relabel.training.tiny import CONFIG, make_data, make_model
from tracin_core.errors import CheckpointError, ConfigurationError


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_and_keeps_checkpoints_with_their_rates(tmp_path):
    model = make_model()
    records = train(model, make_data(), make_data(30, seed=1), CONFIG, tmp_path)
    assert 1 <= len(records) <= CONFIG.num_checkpoints
    assert records[-1].test_accuracy > 0.8
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.pt"))
    assert files == [f"checkpoints/step-{8 * epoch:06d}.pt" for epoch in range(1, 7)]
    assert {record.file for record in records} <= set(files)
    for record in records:
        content = load_tensors(tmp_path / record.file)
        assert set(content) == {"state_dict", "learning_rate", "step", "epoch"}
        assert content["step"] == record.step == record.epoch * 8  # 60 examples by 8
        last_step = CONFIG.rate_at(record.step - 1, 8 * CONFIG.epochs)
        assert content["learning_rate"] == record.learning_rate == last_step
    assert_equal_weights(weights_of(model), content["state_dict"])


def test_one_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    ends = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        model = make_model()
        config = dataclasses.replace(CONFIG, seed=seed)
        train(model, make_data(), make_data(30), config, tmp_path / name)
        ends.append(weights_of(model))
    assert_equal_weights(ends[0], ends[1])
    assert not torch.equal(ends[0]["0.weight"], ends[2]["0.weight"])


def test_the_world_is_left_as_it_was_found(tmp_path):
    model = make_model().eval()
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train(model, make_data(), make_data(30), CONFIG, tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not model.training


def test_progress_is_told_after_each_epoch(tmp_path):
    told: list[tuple[float, str]] = []
    train(make_model(), make_data(), make_data(30), CONFIG, tmp_path, lambda *a: told.append(a))
    assert [share for share, _ in told] == pytest.approx([e / 6 for e in range(1, 7)])
    assert told[0][1].startswith("Epoch 1 of 6: train loss ")


class CancelledError(Exception):
    pass


@pytest.mark.parametrize("last_epoch", [1, 3, 6])
def test_a_cancelled_training_goes_on_and_ends_with_the_same_bits(tmp_path, last_epoch):
    def cancel(share: float, message: str) -> None:
        if share >= last_epoch / CONFIG.epochs:
            raise CancelledError

    whole, parts = make_model(), make_model()
    expected = train(whole, make_data(), make_data(30), CONFIG, tmp_path / "whole")
    with pytest.raises(CancelledError):
        train(parts, make_data(), make_data(30), CONFIG, tmp_path / "parts", cancel)
    told: list[float] = []
    again = make_model()
    records = train(
        again, make_data(), make_data(30), CONFIG, tmp_path / "parts", lambda s, m: told.append(s)
    )
    assert len(told) == CONFIG.epochs - last_epoch
    assert records == expected
    assert_equal_weights(weights_of(again), weights_of(whole))


def test_a_finished_training_is_read_not_repeated(tmp_path):
    first, second = make_model(), make_model()
    records = train(first, make_data(), make_data(30), CONFIG, tmp_path)
    leftover = tmp_path / "checkpoints" / "step-999999.pt"  # as a kill during the clean-up leaves
    leftover.write_bytes(b"")
    halves = [base / ".half.pt.1-2.tmp" for base in (tmp_path, leftover.parent)]
    for half in halves:
        half.write_bytes(b"")

    def fail(share: float, message: str) -> None:
        raise AssertionError("an epoch was trained")

    assert train(second, make_data(), make_data(30), CONFIG, tmp_path, fail) == records
    assert_equal_weights(weights_of(first), weights_of(second))
    assert not any(path.exists() for path in (leftover, *halves))
    assert not (tmp_path / STATE_FILE).exists()


@pytest.mark.parametrize("change", ["label", "config", "input"])
def test_a_folder_with_another_training_is_refused(tmp_path, change):
    train(make_model(), make_data(), make_data(30), CONFIG, tmp_path)
    data, config = make_data(), CONFIG
    if change == "label":
        data.labels[0] = 2 - data.labels[0]
    elif change == "input":
        data.inputs[0, 0] += 1
    else:
        config = dataclasses.replace(CONFIG, learning_rate=0.2)
    with pytest.raises(RunFolderError, match="Use another folder"):
        train(make_model(), data, make_data(30), config, tmp_path)


def test_a_damaged_state_is_reported_not_trained_over(tmp_path):
    (tmp_path / STATE_FILE).write_bytes(b"half a fi")
    with pytest.raises(CheckpointError, match="train again"):
        train(make_model(), make_data(), make_data(30), CONFIG, tmp_path)


def test_a_loss_that_runs_away_stops_with_the_way_out(tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=1e30, schedule="constant")
    with pytest.raises(ConfigurationError, match=r"epoch 1, step \d.*smaller learning rate"):
        train(make_model(), make_data(), make_data(30), config, tmp_path)


def test_no_train_examples_is_said(tmp_path):
    with pytest.raises(ConfigurationError, match="no train examples"):
        train(make_model(), make_data(0), make_data(30), CONFIG, tmp_path)


def test_without_a_test_split_the_train_split_is_judged(tmp_path):
    records = train(make_model(), make_data(), make_data(0), CONFIG, tmp_path)
    assert records[-1].test_accuracy > 0.8


def test_beyond_its_budget_every_second_checkpoint_goes_and_none_that_is_chosen(tmp_path):
    size = sum(value.nbytes for value in make_model().state_dict().values())
    config = dataclasses.replace(CONFIG, epochs=12, num_checkpoints=2, max_disk_bytes=4 * size)
    records = train(make_model(), make_data(), make_data(30), config, tmp_path)
    files = sorted(path.name for path in tmp_path.rglob("*.pt"))
    assert files == [f"step-{8 * epoch:06d}.pt" for epoch in (4, 8, 12)]
    assert {record.epoch for record in records} <= {4, 8, 12}


def test_it_stops_when_the_test_loss_no_longer_falls(tmp_path):
    config = dataclasses.replace(CONFIG, epochs=60, learning_rate=0.5, patience=3)
    train(make_model(), make_data(), make_data(30, seed=1), config, tmp_path)
    losses = [epoch["test_loss"] for epoch in load_json(tmp_path / RESULT_FILE)["epochs"]]
    assert len(losses) < 60
    assert losses.index(min(losses)) == len(losses) - 1 - 3


def test_the_course_so_far_can_be_read_at_any_time(tmp_path):
    seen = []

    def look(share: float, message: str) -> None:
        course = load_json(tmp_path / RESULT_FILE)
        seen.append((course["finished"], len(course["epochs"]), len(course["seconds"])))

    train(make_model(), make_data(), make_data(30), CONFIG, tmp_path, look)
    assert seen == [(False, count, count) for count in range(1, 7)]
    assert load_json(tmp_path / RESULT_FILE)["finished"]


def test_each_step_tells_how_many_examples_were_visited(tmp_path):
    visited: list[int] = []
    train(make_model(), make_data(), make_data(30), CONFIG, tmp_path, on_visited=visited.append)
    assert visited[:8] == [8, 16, 24, 32, 40, 48, 56, 60]
    assert visited[-1] == 6 * 60
    assert visited == sorted(visited)


def test_a_regression_is_judged_in_the_targets_own_unit(tmp_path):
    def make_points(size: int, seed: int) -> TensorDataset:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(size, 2, generator=generator)
        return TensorDataset(inputs, inputs @ torch.tensor([0.8, -0.6]))

    config = dataclasses.replace(CONFIG, loss="mse", learning_rate=0.05)
    model = nn.Sequential(nn.Linear(2, 1))
    records = train(model, make_points(200, 0), make_points(50, 1), config, tmp_path, unit=1000.0)
    assert records[-1].test_accuracy is None
    assert records[-1].test_r2 > 0.99
    assert records[-1].test_rmse == pytest.approx(1000 * records[-1].test_loss ** 0.5)
    assert all(record.test_r2 > 0 for record in records)
    assert "predicting their mean reaches 0" in records[-1].reason


def test_a_single_example_left_over_joins_the_batch_before_it(tmp_path):
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    config = dataclasses.replace(CONFIG, epochs=1, batch_size=20)
    records = train(model, make_data(61), make_data(30), config, tmp_path)
    assert records[-1].step == 3


def test_any_map_style_data_set_will_do(tmp_path):
    own, foreign = make_model(), make_model()
    data = make_data()
    train(own, data, make_data(30), CONFIG, tmp_path / "own")
    plain = TensorDataset(data.inputs, data.labels)
    train(foreign, plain, make_data(30), CONFIG, tmp_path / "foreign")
    assert_equal_weights(weights_of(own), weights_of(foreign))


def test_frozen_layers_stay(tmp_path):
    model = make_model()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    train(model, make_data(), make_data(30), CONFIG, tmp_path)
    assert torch.equal(model[0].weight, before)


def test_the_whole_course_is_written_down(tmp_path):
    train(make_model(), make_data(), make_data(30), CONFIG, tmp_path)
    result = load_json(tmp_path / RESULT_FILE)
    assert [epoch["epoch"] for epoch in result["epochs"]] == [1, 2, 3, 4, 5, 6]
    assert result["config"] == CONFIG.to_json()
    assert all(record["reason"] for record in result["checkpoints"])
