"""A pool of processes on this machine, one a GPU or sharing its cores.

Each worker is a new interpreter ("spawn"), as one that CUDA or OpenMP runs in cannot be forked.
It is told shards through a pipe of its own and sends results back through it; the pipe's end is
the end of the worker, so that none outlives a killed driver.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any

from tracin_core.errors import ConfigurationError
from tracin_core.scale.config import EngineConfig, ShardResult, count_cores
from tracin_core.scale.registry import register_engine
from tracin_core.scale.shard_queue import ShardQueue
from tracin_core.scale.worker import ShardRunner, pack_work

# One shard is being done, and the next is there when it ends: nobody waits while results are
# written down.
AT_ONCE = 2
# Seconds between two looks at everything, so that cancelling takes no longer.
TICK = 1.0
# Seconds that a worker has to end by itself when it is told to.
GRACE = 2.0
_READY = "ready"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"


@register_engine("pool", "processes on this machine")
def run_pool(
    work: Callable[[Any], Any], queue: ShardQueue[Any], config: EngineConfig
) -> Generator[ShardResult[Any], None, None]:
    """Yield each shard's result when it is there.

    Raises:
        ConfigurationError: If the work cannot be pickled, a worker cannot begin, or there is
            no GPU.
        ShardLostError: If a shard was lost more often than it may be.
    """
    pool = _Pool(pack_work(work), queue, config)
    atexit.register(pool.close)  # else Python waits for the workers when it ends in an error
    try:
        yield from pool.run()
    finally:
        pool.close()
        atexit.unregister(pool.close)


class _Worker:
    """One process, the pipe to it, and what it has been told to do."""

    def __init__(self, payload: bytes, threads: int, gpu: str | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.gpu = gpu
        self.is_ready = False
        self.under_way: deque[int] = deque()
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, payload, threads))
        environment = dict.fromkeys(_THREAD_VARIABLES, str(threads))
        # Before its interpreter starts: both are read when a library is loaded.
        with _environment(environment | ({} if gpu is None else {_GPU_VARIABLE: gpu})):
            self.process.start()
        theirs.close()

    def describe_end(self) -> str:
        """Return how the process ended, as part of a sentence."""
        self.process.join(GRACE)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"was ended by signal {-code} ({signal.Signals(-code).name})"
        return f"ended with the exit code {code}"

    def stop(self) -> None:
        """End the process; what it was doing is dropped."""
        self.connection.close()
        self.process.terminate()

    def wait_until_gone(self) -> None:
        """Wait for a process that was told to end."""
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


class _Pool:
    """The workers of one call."""

    def __init__(self, payload: bytes, queue: ShardQueue[Any], config: EngineConfig) -> None:
        self._payload, self._queue, self._config = payload, queue, config
        gpus = list_gpus() if config.gpus else []
        if config.gpus and not gpus:
            raise ConfigurationError(
                "Found no GPU; expected one for each worker. Leave gpus out, or mend the driver: "
                "torch.cuda.is_available() must be true."
            )
        asked = config.workers or len(gpus) or count_cores()
        count = max(1, min(asked, len(queue.unfinished)))
        self._threads = config.threads_of(count)
        self._lost = 0
        self._workers: list[_Worker] = []
        for number in range(count):
            self._start(gpus[number % len(gpus)] if gpus else None)

    def run(self) -> Iterator[ShardResult[Any]]:
        while not self._queue.is_done:
            self._hand_out()
            for worker in self._find_eloquent():
                yield from self._listen(worker)
            self._config.on_report(self._queue.report(len(self._workers), self._lost))

    def close(self) -> None:
        """Stop all workers."""
        stopped, self._workers = self._workers, []
        for worker in stopped:
            worker.stop()
        for worker in stopped:
            worker.wait_until_gone()

    def _start(self, gpu: str | None) -> None:
        self._workers.append(_Worker(self._payload, self._threads, gpu))

    def _hand_out(self) -> None:
        for depth in range(AT_ONCE):
            for worker in self._workers:
                if len(worker.under_way) > depth:
                    continue
                index = self._queue.take()
                if index is None:
                    return
                worker.under_way.append(index)
                with suppress(OSError):  # it has gone; whoever listens next finds that out
                    worker.connection.send((index, self._queue.shards[index]))

    def _find_eloquent(self) -> list[_Worker]:
        """Return the workers that have said something, or have ended."""
        by_connection: dict[object, _Worker] = {one.connection: one for one in self._workers}
        return [
            by_connection[found] for found in wait([one.connection for one in self._workers], TICK)
        ]

    def _listen(self, worker: _Worker) -> Iterator[ShardResult[Any]]:
        try:
            said = worker.connection.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        if isinstance(said, BaseException):
            raise said
        if said == _READY:
            worker.is_ready = True
            return
        worker.under_way.popleft()
        self._queue.finish(said.index)
        yield said

    def _replace(self, worker: _Worker) -> None:
        why = worker.describe_end()
        if not worker.is_ready:
            raise ConfigurationError(
                f"A worker of the engine pool {why} before it began; the terminal or the log says "
                "why. Expected it to import the program that started it: put the call of a script "
                'under `if __name__ == "__main__":`. Mend that, or choose the engine serial.'
            )
        self._workers.remove(worker)
        worker.stop()
        worker.wait_until_gone()
        self._lost += 1
        self._queue.put_back(worker.under_way, why)
        self._start(worker.gpu)


def _serve(connection: Connection, payload: bytes, threads: int) -> None:
    """Do shards until the pipe ends; the process of a worker."""
    # Ctrl-C reaches all processes of a terminal, and it is the driver's to act on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told: SimpleQueue[tuple[int, Any]] = SimpleQueue()
    threading.Thread(target=_take_in, args=(connection, told), daemon=True).start()
    try:
        runner = ShardRunner(payload, threads)
        connection.send(_READY)
        while True:
            connection.send(runner.do(*told.get()))
    except BaseException as error:
        connection.send(as_sendable(error))
        raise


def _take_in(connection: Connection, told: SimpleQueue[tuple[int, Any]]) -> None:
    """Pass on what comes through the pipe; its end ends the process, also in the middle of a shard.

    Nothing is half done by that: all that a worker makes goes through the pipe.
    """
    try:
        while True:
            told.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)


def as_sendable(error: BaseException) -> BaseException:
    """Return an error that can be pickled, with where it was raised as a note."""
    import pickle

    where = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # whatever a stranger's exception does when it is copied
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"In a worker:\n{where}")
    return error


def list_gpus() -> list[str]:
    """Return what names each GPU that this process sees, for ``CUDA_VISIBLE_DEVICES``."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get(_GPU_VARIABLE)
    names = [str(number) for number in range(count)] if visible is None else visible.split(",")
    return names[:count]


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment for what is started in the block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
