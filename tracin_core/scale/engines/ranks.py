"""A static split over processes that somebody else has started: torchrun, Slurm, or by hand.

Each rank does every ``WORLD_SIZE``-th shard, from its own number on, without a word to the others.
All but the first write their results into a shared folder, each a file that is there whole or not
at all; the first yields what it did and what it finds there. One that is started again goes on
from the files. Results must be named arrays, because nothing that lies in a folder is unpickled.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from tracin_core.errors import ConfigurationError
from tracin_core.files import HEADER_ERRORS, atomic_file
from tracin_core.scale.config import EngineConfig, ShardResult
from tracin_core.scale.registry import register_engine
from tracin_core.scale.shard_queue import ShardQueue
from tracin_core.scale.worker import do_shard

# Number of this process, and of all: torchrun's, then Slurm's.
_VARIABLES = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
_LOCAL_VARIABLES = ("LOCAL_RANK", "SLURM_LOCALID")
# Seconds between two looks for what other ranks have written.
POLL = 0.2
# Of the measures, which stand beside the arrays of a result.
_SECONDS = "seconds of the shard"


def read_rank() -> tuple[int, int]:
    """Return the number of this process, and how many there are.

    Raises:
        ConfigurationError: If nobody has said so.
    """
    for rank, world in _VARIABLES:
        if rank in os.environ and world in os.environ:
            found = os.environ[rank], os.environ[world]
            if all(text.isdecimal() for text in found) and int(found[0]) < int(found[1]):
                return int(found[0]), int(found[1])
            raise ConfigurationError(
                f"Found {rank}={found[0]!r:.20} and {world}={found[1]!r:.20}; expected the number "
                "of this process, from 0 on, and how many there are. Mend the environment."
            )
    raise ConfigurationError(
        "Found neither RANK and WORLD_SIZE nor SLURM_PROCID and SLURM_NTASKS; the engine ranks "
        "expects one pair of them. Start it with torchrun (--no-python for a command) or srun, or "
        "choose the engine pool."
    )


def choose_local_device(device: str) -> str:
    """Return a GPU of its own for each rank on a machine, where any device would do.

    Args:
        device: "auto", or what a person chose, which stands.
    """
    local = next((os.environ[name] for name in _LOCAL_VARIABLES if name in os.environ), "")
    if device != "auto" or not local.isdecimal():
        return device
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{int(local) % count}" if count > 1 else device


@register_engine("ranks", "one of several processes that torchrun or Slurm has started")
def run_ranks(
    work: Callable[[Any], Any], queue: ShardQueue[Any], config: EngineConfig
) -> Generator[ShardResult[Any], None, None]:
    """Yield all results on the first rank, and none on the others, which write theirs.

    Raises:
        ConfigurationError: If the process has no rank, no folder was given, or a result is no
            mapping of arrays.
    """
    rank, world = read_rank()
    if config.folder is None:
        raise ConfigurationError(
            "Found no folder; the engine ranks expects one that all ranks share. Pass folder=."
        )
    config.folder.mkdir(exist_ok=True)
    parts = _Parts(config.folder)
    own = [index for index in queue.unfinished if index % world == rank]
    if rank:
        for index in own:
            if not parts.path(index).exists():
                parts.write(do_shard(work, index, queue.shards[index]))
            queue.finish(index)
            config.on_report(queue.report(world, 0))
        return
    for index in own:
        yield from _settle(do_shard(work, index, queue.shards[index]), queue, config, world)
        yield from _collect(parts, queue, config, world)
    yield from _wait_for_others(work, parts, queue, config, world)


def _settle(
    done: ShardResult[Any], queue: ShardQueue[Any], config: EngineConfig, world: int
) -> Generator[ShardResult[Any], None, None]:
    queue.finish(done.index)
    yield done
    config.on_report(queue.report(world, 0))


def _collect(
    parts: _Parts, queue: ShardQueue[Any], config: EngineConfig, world: int
) -> Generator[ShardResult[Any], None, None]:
    """Yield what other ranks have written meanwhile."""
    for index in queue.unfinished:
        done = parts.read(index)
        if done is not None:
            yield from _settle(done, queue, config, world)
            parts.path(index).unlink(missing_ok=True)


def _wait_for_others(
    work: Callable[[Any], Any],
    parts: _Parts,
    queue: ShardQueue[Any],
    config: EngineConfig,
    world: int,
) -> Generator[ShardResult[Any], None, None]:
    """Yield what the others still write; where nothing comes for long, do a shard of theirs."""
    heard_at = time.monotonic()
    while not queue.is_done:
        before = len(queue.unfinished)
        yield from _collect(parts, queue, config, world)
        if len(queue.unfinished) < before:
            heard_at = time.monotonic()
        elif time.monotonic() - heard_at >= config.patience:
            # Its rank may be gone. If it is not, both make the same bits.
            index = queue.unfinished[0]
            yield from _settle(do_shard(work, index, queue.shards[index]), queue, config, world)
        else:
            config.on_report(queue.report(world, 0))
            time.sleep(POLL)


class _Parts:
    """Results of other ranks, a file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, index: int) -> Path:
        return self._folder / f"part-{index:010d}.npz"

    def write(self, done: ShardResult[Any]) -> None:
        if not isinstance(done.result, Mapping):
            raise ConfigurationError(
                f"The work returned a {type(done.result).__name__}; the engine ranks expects "
                "arrays by name, which files hold without pickling. Return a dict of arrays."
            )
        measures = np.array([done.seconds, done.processor_seconds])
        arrays = {name: np.asarray(values) for name, values in done.result.items()}
        with atomic_file(self.path(done.index)) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays, **{_SECONDS: measures})  # type: ignore[arg-type]

    def read(self, index: int) -> ShardResult[Any] | None:
        """Return what lies there; None where nothing does, or something else."""
        try:
            # Opened here, because NumPy leaves a file open that is no archive.
            with self.path(index).open("rb") as file, np.load(file, allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
            seconds, processor = arrays.pop(_SECONDS).tolist()
        except (OSError, EOFError, ValueError, BadZipFile, *HEADER_ERRORS):
            return None
        return ShardResult(index=index, result=arrays, seconds=seconds, processor_seconds=processor)
