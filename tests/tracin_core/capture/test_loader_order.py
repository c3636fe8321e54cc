"""Which samplers of a DataLoader are taken for in order, and which refused."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from tracin_core import Checkpoint, TracIn
from tracin_core.capture.batching import check_sameness
from tracin_core.capture.loader_order import refuse_disorder
from tracin_core.errors import ConfigurationError


class Buckets:
    """A batch sampler of one's own: runs of different lengths."""

    def __init__(self, *batches: list[int], shuffles: bool = False) -> None:
        self.batches, self.shuffles = list(batches), shuffles

    def __iter__(self):
        batches = [*self.batches]
        if self.shuffles:
            random.shuffle(batches)
        return iter(batches)

    def __len__(self) -> int:
        return len(self.batches)


class OwnBatches(BatchSampler):
    """A subclass that changes nothing."""


class Endless:
    """A sampler that never ends."""

    def __iter__(self):
        while True:
            yield 0


def list_rows(items):
    return default_collate([*items])


def turn_round(items):
    return default_collate(items[::-1])


def make_examples(count: int = 5) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(count, 3, generator=generator), torch.arange(count) % 2)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_sampler": BatchSampler(SequentialSampler(range(5)), 2, False)},
        {"batch_sampler": OwnBatches(SequentialSampler(range(5)), 2, False)},
        {"batch_sampler": Buckets([0, 1, 2], [3], [4])},
        {"batch_sampler": [[0, 1], [2, 3, 4]]},
        {"sampler": range(5), "batch_size": 2},
        {"batch_sampler": [[0, 1], [2, 3, 4]], "collate_fn": list_rows},
        {"batch_size": 2, "in_order": False},
    ],
    ids=["sequential", "subclass", "own", "list", "range", "own batches of its own", "no workers"],
)
def test_a_loader_in_order_scores_as_its_data_set_does(options):
    torch.manual_seed(0)
    model, examples = nn.Linear(3, 2), make_examples()
    tracin = TracIn(model, Checkpoint(model.state_dict(), 1.0), device="cpu")
    scores = tracin.self_influence(DataLoader(examples, **options))
    torch.testing.assert_close(scores, tracin.self_influence(examples))


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True},
        {"batch_sampler": BatchSampler(RandomSampler(range(2)), 1, False)},
        {"batch_sampler": OwnBatches(RandomSampler(range(2)), 1, False)},
        {"batch_sampler": Buckets([0], [1], shuffles=True)},
        {"batch_sampler": Buckets([1], [0])},
        {"batch_sampler": Buckets([0])},
        {"batch_sampler": iter([[0], [1]])},
        {"sampler": Endless()},
        {"sampler": [0, 1, 1]},
    ],
    ids=[
        "shuffle",
        "random",
        "own random",
        "drawn",
        "reversed",
        "part",
        "once",
        "endless",
        "twice",
    ],
)
def test_a_loader_out_of_order_is_refused_however_few_examples_it_has(options):
    loader = DataLoader(make_examples(2), **options)
    with pytest.raises(ConfigurationError, match="shuffles or samples"):
        refuse_disorder(loader)


def test_batches_that_come_as_workers_finish_them_are_refused():
    loader = DataLoader(make_examples(), 2, num_workers=1, in_order=False)
    with pytest.raises(ConfigurationError, match="in_order=False and 1 workers"):
        refuse_disorder(loader)


def test_batches_that_are_turned_round_are_refused():
    loader = DataLoader(make_examples(), 3, collate_fn=turn_round)
    with pytest.raises(ConfigurationError, match="does not keep the order"):
        check_sameness(loader)


def test_the_random_state_is_left_as_it_was():
    state = torch.get_rng_state(), random.getstate()
    with pytest.raises(ConfigurationError):
        refuse_disorder(
            DataLoader(make_examples(2), batch_sampler=Buckets([0], [1], shuffles=True))
        )
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
