"""Influence keeps test gradients within a bound, and the train examples pass by once."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.capture import influence
from tracin_core.errors import GradientError
from tracin_core.losses import cross_entropy


def build() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(3, 6, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)),
    ).double()


MODEL = build()
CHECKPOINTS = [
    Checkpoint({k: v + shift for k, v in MODEL.state_dict().items()}, learning_rate=rate)
    for shift, rate in ((0.0, 0.1), (0.05, 0.2), (0.1, 0.05))
]
IMAGES = torch.randn(20, 1, 4, 4, generator=torch.Generator().manual_seed(1)).double()
LABELS = torch.arange(20) % 3
TRAIN, TEST = TensorDataset(IMAGES[:9], LABELS[:9]), TensorDataset(IMAGES[9:], LABELS[9:])
EXPECTED = oracles.influence(MODEL, CHECKPOINTS, list(TRAIN), list(TEST), cross_entropy)


def make_tracin() -> TracIn:
    return TracIn(copy.deepcopy(MODEL), CHECKPOINTS, device="cpu", batch_size=4)


class Counted(Dataset):
    """Counts how often an example is read."""

    def __init__(self, examples: TensorDataset) -> None:
        self.examples, self.reads = examples, 0

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return self.examples[index]


def count_reads(tracin: TracIn, test: Any) -> tuple[Tensor, float]:
    """Return the scores, and how many times the train examples were read for them."""
    train = Counted(TRAIN)
    tracin.influence(train, TensorDataset(*TEST[:0]))  # looks at the data once
    before = train.reads
    tracin.influence(train, TensorDataset(*TEST[:0]))
    opened, before = train.reads - before, train.reads
    scores = tracin.influence(train, test)
    return scores, (train.reads - before - opened) / len(TRAIN)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_train_examples_pass_by_once_however_the_test_set_is_batched(batch_size: int) -> None:
    scores, reads = count_reads(make_tracin(), DataLoader(TEST, batch_size))
    assert reads == 1
    torch.testing.assert_close(scores, EXPECTED, **oracles.EXACT)


# Bytes, examples in a batch of the test set, and how often the train examples are read: some 700
# bytes are kept of a test example at a checkpoint, so 8 KB at a checkpoint.
BOUNDS = {
    "all checkpoints": (40_000, 2, 1),
    "two checkpoints": (18_000, 20, 2),
    "one checkpoint": (9_000, 2, 3),
    "two blocks": (5_000, 20, 6),
    "one example": (1, 20, 33),
}


@pytest.mark.parametrize(("bound", "batch_size", "expected"), BOUNDS.values(), ids=BOUNDS)
def test_a_bound_on_memory_changes_no_score(
    bound: int, batch_size: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influence, "HELD_BYTES", bound)
    held: list[int] = []
    prepare = influence.TestBlock.prepare

    def watch(block: influence.TestBlock, most: int) -> None:
        prepare(block, most)
        held.append(block.nbytes)

    monkeypatch.setattr(influence.TestBlock, "prepare", watch)
    scores, reads = count_reads(make_tracin(), DataLoader(TEST, batch_size))
    torch.testing.assert_close(scores, EXPECTED, **oracles.EXACT)
    assert reads == len(held) == expected
    assert bound == 1 or max(held) <= bound


@pytest.mark.parametrize("bound", [1 << 30, 5_000])
def test_progress_is_one_whole_over_all_blocks(bound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influence, "HELD_BYTES", bound)
    told: list[tuple[int, int]] = []
    make_tracin().influence(TRAIN, TEST, on_progress=lambda *numbers: told.append(numbers))
    done = [number for number, _ in told]
    assert done == sorted(done)
    assert told[-1] == (27, 27)
    assert {whole for _, whole in told} == {27}


class ByWidth(nn.Module):
    """Narrow inputs take one layer, wide ones another."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.narrow, self.wide = nn.Linear(2, 2), nn.Linear(3, 2)
        with torch.no_grad():
            self.wide.weight.abs_()
            self.wide.bias.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.narrow(inputs) if inputs.shape[1] == 2 else self.wide(inputs).sqrt()


def test_a_gradient_that_meets_none_of_the_test_examples_is_zero_or_named() -> None:
    model = ByWidth()
    tracin = TracIn(model, Checkpoint(model.state_dict(), learning_rate=0.1), device="cpu")
    train = TensorDataset(torch.rand(4, 3) + 0.1, LABELS[:4] % 2)
    test = TensorDataset(torch.rand(3, 2), LABELS[:3] % 2)
    assert torch.equal(tracin.influence(train, test), torch.zeros(4, 3))
    train.tensors[0][2] = 0.0
    with pytest.raises(GradientError, match="example 2 at checkpoint 0"):
        tracin.influence(train, test)
