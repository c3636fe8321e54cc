"""Read batches from any map-style data set, in an order that is a function of the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

EVALUATION_BATCH = 512  # examples; without gradients this many small inputs are a few megabytes


def shuffled_batches(dataset: Any, batch_size: int, *, seed: int, epoch: int) -> Iterator[Any]:
    """Yield every example once, in batches ``(inputs, targets)``.

    Args:
        dataset: Map-style, of ``(input, target)``.
        batch_size: Examples per batch; the last one may be smaller, or larger by one.
        seed: With the epoch it decides the order, so a resumed epoch has the same one.
        epoch: 1-based number.
    """
    generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
    order = torch.randperm(len(dataset), generator=generator)
    count = count_batches(len(order), batch_size)
    for number in range(count):
        stop = (number + 1) * batch_size if number < count - 1 else len(order)
        yield read_batch(dataset, order[number * batch_size : stop])


def count_batches(num_examples: int, batch_size: int) -> int:
    """Return the steps of an epoch.

    A single example left over joins the batch before it: batch normalisation has nothing to
    compare it with, and torch refuses it.
    """
    left_over = num_examples % batch_size
    return max(num_examples // batch_size + (left_over > (1 if batch_size > 1 else 0)), 1)


def ordered_batches(dataset: Any, largest: int | None = None) -> Iterator[Any]:
    """Yield examples by position, in batches ``(inputs, targets)``.

    Args:
        dataset: Map-style, of ``(input, target)``.
        largest: Most examples to read; of more a sample is taken, always the same. None for all.
    """
    chosen = torch.arange(len(dataset))
    if largest is not None and len(dataset) > largest:
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(dataset), generator=generator)[:largest].sort().values
    for start in range(0, len(chosen), EVALUATION_BATCH):
        yield read_batch(dataset, chosen[start : start + EVALUATION_BATCH])


def read_batch(dataset: Any, indices: Tensor) -> Any:
    """Return some examples as one batch; in one indexing step where the data set knows how."""
    if hasattr(dataset, "read_batch"):
        return dataset.read_batch(indices)
    return default_collate([dataset[int(index)] for index in indices])


def read_targets(dataset: Any) -> Tensor:
    """Return the targets of a data set, shape ``(N,)``, on the processor."""
    targets = getattr(dataset, "targets", None)
    if targets is None:
        targets = torch.cat([targets for _, targets in ordered_batches(dataset)])
    return torch.as_tensor(targets).cpu()


def count_classes(dataset: Any) -> list[int]:
    """Return the examples of each class, shape ``(K,)``."""
    return [int(count) for count in torch.bincount(read_targets(dataset).flatten().long())]


def mix_seed(seed: int, epoch: int) -> int:
    """Return a seed of its own for each epoch, unrelated to those of neighbouring seeds."""
    digest = hashlib.blake2b(f"{seed}/{epoch}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


def hash_dataset(dataset: Any) -> str:
    """Return a hash of a data set: its own digest, or of what it has in memory, or of its size."""
    known = getattr(dataset, "digest", None)
    if isinstance(known, str):
        return known
    digest = hashlib.blake2b(str(len(dataset)).encode(), digest_size=16)
    for name in ("inputs", "labels"):
        values = getattr(dataset, name, None)
        if isinstance(values, Tensor):
            digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
            digest.update(values.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
