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
        batch_size: Examples per batch; the last one may be smaller.
        seed: With the epoch it decides the order, so a resumed epoch has the same one.
        epoch: 1-based number.
    """
    generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
    order = torch.randperm(len(dataset), generator=generator)
    for start in range(0, len(order), batch_size):
        yield read_batch(dataset, order[start : start + batch_size])


def ordered_batches(dataset: Any) -> Iterator[Any]:
    """Yield every example once, by position, in batches ``(inputs, targets)``."""
    for start in range(0, len(dataset), EVALUATION_BATCH):
        yield read_batch(dataset, torch.arange(start, min(start + EVALUATION_BATCH, len(dataset))))


def read_batch(dataset: Any, indices: Tensor) -> Any:
    """Return some examples as one batch; in one indexing step where the data set knows how."""
    if hasattr(dataset, "read_batch"):
        return dataset.read_batch(indices)
    return default_collate([dataset[int(index)] for index in indices])


def mix_seed(seed: int, epoch: int) -> int:
    """Return a seed of its own for each epoch, unrelated to those of neighbouring seeds."""
    digest = hashlib.blake2b(f"{seed}/{epoch}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


def hash_dataset(dataset: Any) -> str:
    """Return a hash of a data set in memory, or of the size of one that is read lazily."""
    digest = hashlib.blake2b(str(len(dataset)).encode(), digest_size=16)
    for name in ("inputs", "labels"):
        values = getattr(dataset, name, None)
        if isinstance(values, Tensor):
            digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
            digest.update(values.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
