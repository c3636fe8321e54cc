"""A Dask cluster: a running one by its scheduler's address, or one of processes on this machine.

The work goes to every worker once, as a plugin, so that one that joins later or comes in the place
of a lost one has it, too. Needs ``distributed``, imported where it is used.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tracin_core.errors import ConfigurationError
from tracin_core.scale.config import EngineConfig, ShardResult, count_cores
from tracin_core.scale.registry import describe_missing, register_engine
from tracin_core.scale.shard_queue import ShardQueue
from tracin_core.scale.worker import ShardRunner, pack_work

# Shards that each worker has in hand: the one it does and the next.
AT_ONCE = 2
TICK = 1.0


@register_engine("dask", "workers of a Dask cluster, or of one that is started here")
def run_dask(
    work: Callable[[Any], Any], queue: ShardQueue[Any], config: EngineConfig
) -> Generator[ShardResult[Any], None, None]:
    """Yield each shard's result when it is there.

    A shard that a remote worker is doing when the iterator is closed runs to its end there, and
    is dropped.

    Raises:
        ConfigurationError: If Dask is not installed, the work cannot be pickled or the cluster
            does not answer.
        ShardLostError: If a shard was lost more often than it may be.
    """
    try:
        import distributed  # noqa: F401 - asked for before anything is packed
    except ImportError as error:
        raise ConfigurationError(describe_missing("distributed", "dask")) from error
    payload = pack_work(work)
    with _open_client(config) as client:
        name = f"shards-{uuid.uuid4().hex}"
        client.register_plugin(_make_plugin(name, WorkHolder(payload, _choose_threads(config))))
        futures: dict[Any, int] = {}
        try:
            yield from _run(client, name, futures, queue, config)
        finally:
            client.cancel(list(futures), force=True)
            client.unregister_worker_plugin(name)


class WorkHolder:
    """Holds the work in a worker, which opens it for its first shard."""

    def __init__(self, payload: bytes, threads: int) -> None:
        self._payload, self._threads = payload, threads
        self._runner: ShardRunner | None = None

    def do(self, index: int, shard: Any) -> ShardResult[Any]:
        """Do one shard."""
        if self._runner is None:
            self._runner = ShardRunner(self._payload, self._threads)
        return self._runner.do(index, shard)


def _make_plugin(name: str, holder: WorkHolder) -> Any:
    """Return what Dask gives to every worker; its class must be derived from one of Dask's."""
    from distributed import WorkerPlugin

    class HolderPlugin(WorkerPlugin):  # type: ignore[misc]
        def __init__(self) -> None:
            self.name, self.holder = name, holder

    return HolderPlugin()


def do_in_worker(name: str, index: int, shard: Any) -> ShardResult[Any]:
    """Do a shard with the work that a plugin of this worker holds."""
    from distributed import get_worker

    holder: WorkHolder = get_worker().plugins[name].holder
    return holder.do(index, shard)


def _choose_threads(config: EngineConfig) -> int:
    # Of a cluster's machines nothing is known here; Dask gives each worker one thread as well.
    return config.threads_of(config.workers or count_cores())


@contextmanager
def _open_client(config: EngineConfig) -> Iterator[Any]:
    """Connect to the cluster, or start one of processes here, which ends with the block."""
    import dask
    from distributed import Client, LocalCluster

    if config.address is not None:
        try:
            client = Client(config.address, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"No Dask scheduler answers at {config.address!r:.200} ({error}). Expected its "
                "address, such as tcp://host:8786. Start it, or leave the address out."
            ) from error
        with client:
            yield client
        return
    count = config.workers or count_cores()
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": config.retries}),
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _run(
    client: Any,
    name: str,
    futures: dict[Any, int],
    queue: ShardQueue[Any],
    config: EngineConfig,
) -> Iterator[ShardResult[Any]]:
    from distributed import wait

    seen: set[str] = set()
    while not queue.is_done:
        present = set(client.nthreads())
        seen |= present
        submit = partial(client.submit, do_in_worker, name, pure=False)
        while len(futures) < AT_ONCE * max(len(present), 1):
            index = queue.take()
            if index is None:
                break
            futures[submit(index, queue.shards[index])] = index
        try:
            with client.as_current():
                done = wait(list(futures), timeout=TICK, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            done = set()
        for future in done:
            index = futures.pop(future)
            result = _take(future, index, queue)
            if result is not None:
                queue.finish(index)
                yield result
        config.on_report(queue.report(len(present), len(seen - present)))


def _take(future: Any, index: int, queue: ShardQueue[Any]) -> ShardResult[Any] | None:
    """Return what a future holds; None where its shard has to be done again."""
    from distributed import KilledWorker

    if future.status == "finished":
        result: ShardResult[Any] = future.result()
        return result
    if future.status != "error":
        queue.put_back([index], f"was {future.status}")
        return None
    error = future.exception()
    if isinstance(error, KilledWorker):
        # Dask has done it again as often as its scheduler allows.
        queue.give_up(index, f"was {getattr(error, 'last_worker', 'a worker')!s:.80}")
    raise error
