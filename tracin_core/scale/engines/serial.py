"""All shards one after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from tracin_core.scale.config import EngineConfig, ShardResult
from tracin_core.scale.registry import register_engine
from tracin_core.scale.shard_queue import ShardQueue
from tracin_core.scale.worker import do_shard


@register_engine("serial", "in this process")
def run_serial(
    work: Callable[[Any], Any], queue: ShardQueue[Any], config: EngineConfig
) -> Generator[ShardResult[Any], None, None]:
    """Yield each shard's result in order."""
    while (index := queue.take()) is not None:
        done = do_shard(work, index, queue.shards[index])
        queue.finish(index)
        config.on_report(queue.report(1, 0))
        yield done
