"""What a worker does: open the work once, then do shards and measure each."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

from tracin_core.errors import ConfigurationError
from tracin_core.scale.config import ShardResult


def pack_work(work: Callable[[Any], Any]) -> bytes:
    """Return work as it travels to a worker.

    Raises:
        ConfigurationError: If it cannot be pickled.
    """
    try:
        return pickle.dumps(work)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"The work {work!r:.80} cannot be pickled ({error}); expected a function at the top "
            "of a module, or an object of a class at the top of one, which other processes can "
            "import. Move it there, or choose the engine serial."
        ) from error


def set_threads(threads: int) -> None:
    """Let torch compute on so many threads, if the process has loaded it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


class ShardRunner:
    """Does shards in the process of a worker."""

    def __init__(self, payload: bytes, threads: int) -> None:
        """Open the work.

        Args:
            payload: What ``pack_work`` made.
            threads: On which it computes.
        """
        self._work = pickle.loads(payload)  # noqa: S301 - of this very run, through its own pipe
        set_threads(threads)

    def do(self, index: int, shard: Any) -> ShardResult[Any]:
        """Do one shard."""
        return do_shard(self._work, index, shard)


def do_shard(work: Callable[[Any], Any], index: int, shard: Any) -> ShardResult[Any]:
    """Do the work on one shard, and measure it."""
    seconds, processor = time.perf_counter(), time.process_time()
    result = work(shard)
    return ShardResult(
        index=index,
        result=result,
        seconds=time.perf_counter() - seconds,
        processor_seconds=time.process_time() - processor,
    )
