"""Whether a DataLoader gives every example once and in order, as row i of the scores is example i.

Samplers of torch are known by their kind. One of somebody's own is asked for its order, as often as
makes it improbable that a random one gave this order by chance.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from tracin_core.errors import ConfigurationError

RANDOM = RandomSampler | SubsetRandomSampler | WeightedRandomSampler
# A random order looks sorted by chance less often than once in so many times.
RARE = 1e9


def refuse_disorder(loader: DataLoader[Any]) -> None:
    """Refuse a loader that does not give every example once and in order.

    Raises:
        ConfigurationError: If it does not, or nobody can tell.
    """
    dataset, batches = loader.dataset, loader.batch_sampler
    if isinstance(dataset, IterableDataset):
        raise ConfigurationError(
            f"Found a DataLoader over {type(dataset).__name__}, which is an IterableDataset; "
            "expected a map-style data set with a length, because row i of the scores is example "
            "i. Put the examples in a list, or in a torch.utils.data.TensorDataset."
        )
    if batches is None:
        raise ConfigurationError(
            "Found a DataLoader with batch_size=None, which makes no batches; expected one that "
            "does. Pass loader.dataset, or a batch_size."
        )
    if loader.num_workers and not loader.in_order:
        raise ConfigurationError(
            f"Found a DataLoader with in_order=False and {loader.num_workers} workers, whose "
            "batches come as they are ready; expected every example in order, because row i of "
            "the scores is example i. Pass loader.dataset, or leave in_order out."
        )
    total = len(dataset)  # type: ignore[arg-type]
    # A batch sampler of one's own has a sampler of its own; the loader's is then a dummy.
    sampler = batches.sampler if type(batches) is BatchSampler else None
    if type(loader.sampler) is SequentialSampler and type(sampler) is SequentialSampler:
        _refuse_fewer(loader, batches, len(sampler), total)
    elif isinstance(sampler, RANDOM) or not _gives_in_order(batches, total):
        raise ConfigurationError(
            "Found a DataLoader that shuffles or samples; expected every example once, in order, "
            "because row i of the scores is example i. Pass loader.dataset, or a DataLoader "
            "with shuffle=False."
        )


def _refuse_fewer(loader: DataLoader[Any], batches: Any, taken: int, total: int) -> None:
    """Refuse a loader in order that leaves examples out."""
    if taken != total:
        raise ConfigurationError(
            f"Found a DataLoader whose sampler takes {taken} of the {total} examples; "
            "expected every example once. Pass loader.dataset, or for a part of it "
            "torch.utils.data.Subset(dataset, range(...))."
        )
    if (loader.drop_last or batches.drop_last) and total % batches.batch_size:
        raise ConfigurationError(
            "Found a DataLoader with drop_last=True, which leaves the last examples out; "
            "expected every example once. Pass loader.dataset, or drop_last=False."
        )


def _gives_in_order(batches: Iterable[Any], total: int) -> bool:
    """Return whether batches of positions are all positions in order, each time."""
    times = 2
    if 1 < total < 20:
        times = max(times, math.ceil(math.log(RARE) / math.lgamma(total + 1)))
    with preserve_random_state():
        if iter(batches) is batches:
            return False  # an iterator gives its batches once
        # One more than there are, because a sampler may never end.
        return all(_list_positions(batches, total + 1) == [*range(total)] for _ in range(times))


def _list_positions(batches: Iterable[Any], most: int) -> list[Any]:
    positions = chain.from_iterable(
        batch if isinstance(batch, Iterable) else [None] for batch in batches
    )
    return list(islice(positions, most))


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restore the random states of torch, NumPy and Python afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
