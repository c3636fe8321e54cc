"""The number of threads that a job's network is worth. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

# Below this a step takes a few milliseconds, and handing its parts to another thread costs as
# much as it gains.
SMALL_PARAMETERS = 1_000_000


def is_small(model: nn.Module) -> bool:
    """Return whether a network is computed on one thread."""
    return sum(parameter.numel() for parameter in model.parameters()) < SMALL_PARAMETERS


@contextmanager
def limit_threads_for(model: nn.Module) -> Iterator[None]:
    """Compute on one thread inside the block if the network is small.

    On two idle cores a second thread gained a quarter of the demos' training time. On two busy
    ones, where every step waits for a thread that is not running, it cost a factor of 10 to 30
    (digits: training 46 s against 4 s; docs: scoring 59 s against 8 s, with a load of four). One
    thread also makes the checkpoints the same whatever the number of cores.
    """
    threads = torch.get_num_threads()
    if is_small(model):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
