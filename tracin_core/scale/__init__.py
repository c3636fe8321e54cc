"""Work that is cut into shards, done by an engine: here, in a pool, or on somebody's cluster.

A shard is done whole by one worker and depends on no other, so engines need no collective and
share no file that changes. The same work on the same shards has the same results by every engine;
``docs/scale.md`` says what has to be the same for the same bits. Imports neither torch nor an
engine's library, so that pages and the command line list the engines without them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from typing import Any, TypeVar

from tracin_core.scale.config import EngineConfig, EngineReport, ShardResult
from tracin_core.scale.registry import (
    DEFAULT_ENGINE,
    Engine,
    get_engine,
    list_engines,
    register_engine,
)
from tracin_core.scale.shard_queue import ShardQueue

__all__ = [
    "DEFAULT_ENGINE",
    "Engine",
    "EngineConfig",
    "EngineReport",
    "ShardResult",
    "get_engine",
    "list_engines",
    "map_shards",
    "register_engine",
]

S = TypeVar("S")
R = TypeVar("R")


def map_shards(
    work: Callable[[S], R],
    shards: Sequence[S],
    engine: str = DEFAULT_ENGINE,
    *,
    finished: Collection[int] = (),
    **options: Any,
) -> Generator[ShardResult[R], None, None]:
    """Do the same work on every shard and yield each result when it is there, in any order.

    Closing the iterator stops the workers. A shard whose worker is lost is done again; what the
    work itself raises would be raised again, and ends everything.

    Args:
        work: Is called with a shard. Every engine but "serial" and "ranks" pickles it once for
            each worker, and shards and results one by one.
        shards: All shards, the finished ones too: static splits go by their places.
        engine: Its name, as in ``list_engines``.
        finished: Places of shards that are done already.
        **options: Fields of ``EngineConfig``.

    Raises:
        ConfigurationError: If there is no such engine, its library is not installed, or the work
            cannot be pickled.
        ShardLostError: If a shard was lost with its worker more often than ``retries``.
    """
    entry, config = get_engine(engine), EngineConfig(**options)
    queue = ShardQueue(shards, finished, config.retries)
    return _run(entry, work, queue, config)


def _run(
    entry: Engine, work: Callable[[S], R], queue: ShardQueue[S], config: EngineConfig
) -> Generator[ShardResult[R], None, None]:
    if queue.is_done:
        return
    with closing(entry.run(work, queue, config)) as results:
        yield from results
