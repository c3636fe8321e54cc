"""Blocks that throw their results away and compute them again in the backward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.utils.checkpoint

# One pass at a time in a process: passes change weights, modes and settings that threads share.
PASSES = threading.RLock()


class _ComputedOnce:
    """Stands in for torch's ``CheckpointFunction``: runs a block as if it were not recomputed."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_state: bool, *arguments: Any) -> Any:
        return function(*arguments)


@contextmanager
def computed_once() -> Iterator[None]:
    """Run blocks under ``checkpoint(..., use_reentrant=True)`` without recomputing them.

    Their backward pass works in training only: it refuses gradients at the layers' outputs. The
    results are the same; more of them is kept. Blocks with ``use_reentrant=False`` need no help.
    """
    module: Any = torch.utils.checkpoint
    own = module.CheckpointFunction
    module.CheckpointFunction = _ComputedOnce
    try:
        yield
    finally:
        module.CheckpointFunction = own
