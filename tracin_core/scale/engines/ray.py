"""A Ray cluster: a running one by its address, or one of processes on this machine.

Each worker is an actor that opens the work once. Needs ``ray``, imported where it is used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from tracin_core.errors import ConfigurationError
from tracin_core.scale.config import EngineConfig, ShardResult, count_cores
from tracin_core.scale.registry import describe_missing, register_engine
from tracin_core.scale.shard_queue import ShardQueue
from tracin_core.scale.worker import ShardRunner, pack_work

# Shards that each actor has in hand: the one it does and the next.
AT_ONCE = 2
TICK = 1.0


@register_engine("ray", "actors of a Ray cluster, or of one that is started here")
def run_ray(
    work: Callable[[Any], Any], queue: ShardQueue[Any], config: EngineConfig
) -> Generator[ShardResult[Any], None, None]:
    """Yield each shard's result when it is there.

    Raises:
        ConfigurationError: If Ray is not installed, the work cannot be pickled or the cluster
            does not answer.
        ShardLostError: If a shard was lost more often than it may be.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigurationError(describe_missing("ray", "ray")) from error
    payload = pack_work(work)
    with _connect(config):
        actors = _Actors(ray.put(payload), queue, config)
        try:
            yield from actors.run()
        finally:
            actors.close()


@contextmanager
def _connect(config: EngineConfig) -> Iterator[None]:
    """Connect to the cluster, or start one here; a connection that is there already is used."""
    import ray

    if ray.is_initialized():
        yield
        return
    if config.address is None:
        count = config.workers or count_cores()
        ray.init(num_cpus=count, include_dashboard=False, logging_level="ERROR")
    else:
        try:
            ray.init(address=config.address, logging_level="ERROR")
        except ConnectionError as error:
            raise ConfigurationError(
                f"No Ray cluster answers at {config.address!r:.200} ({error}). Expected its "
                "address, such as host:6379 or auto. Start it, or leave the address out."
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


class _Actors:
    """The actors of one call, and what each has in hand."""

    def __init__(self, payload: Any, queue: ShardQueue[Any], config: EngineConfig) -> None:
        import ray

        self._payload, self._queue, self._config = payload, queue, config
        count = config.workers or int(ray.cluster_resources().get("CPU", 1))
        count = max(1, min(count, len(queue.unfinished)))
        self._threads = config.threads_of(count)
        # Actors that are lost are made anew here, so that each loss is counted.
        make = ray.remote(num_cpus=1, num_gpus=1 if config.gpus else 0, max_restarts=0)
        self._make = make(ShardRunner)
        self._lost = 0
        self._in_hand: dict[Any, deque[tuple[Any, int]]] = {}
        for _ in range(count):
            self._start()

    def run(self) -> Iterator[ShardResult[Any]]:
        import ray

        while not self._queue.is_done:
            self._hand_out()
            calls = [call for in_hand in self._in_hand.values() for call, _ in in_hand]
            done, _ = ray.wait(calls, num_returns=1, timeout=TICK)
            for actor, in_hand in list(self._in_hand.items()):
                if in_hand and in_hand[0][0] in done:
                    yield from self._listen(actor)
            self._config.on_report(self._queue.report(len(self._in_hand), self._lost))

    def close(self) -> None:
        """End all actors; what they were doing is dropped."""
        import ray

        for actor in self._in_hand:
            ray.kill(actor)

    def _start(self) -> None:
        self._in_hand[self._make.remote(self._payload, self._threads)] = deque()

    def _hand_out(self) -> None:
        for depth in range(AT_ONCE):
            for actor, in_hand in self._in_hand.items():
                if len(in_hand) > depth:
                    continue
                index = self._queue.take()
                if index is None:
                    return
                in_hand.append((actor.do.remote(index, self._queue.shards[index]), index))

    def _listen(self, actor: Any) -> Iterator[ShardResult[Any]]:
        import ray

        call, index = self._in_hand[actor][0]
        try:
            result: ShardResult[Any] = ray.get(call)
        except ray.exceptions.RayActorError as error:
            self._replace(actor, error)
            return
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
        self._in_hand[actor].popleft()
        self._queue.finish(index)
        yield result

    def _replace(self, actor: Any, error: Exception) -> None:
        under_way = [index for _, index in self._in_hand.pop(actor)]
        self._lost += 1
        told = " ".join(str(error).split())
        self._queue.put_back(under_way, f"ended: {told:.200}")
        self._start()
