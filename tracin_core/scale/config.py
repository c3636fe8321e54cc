"""What an engine is told, and what it tells."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tracin_core.errors import ConfigurationError

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class ShardResult(Generic[R]):
    """What came of one shard.

    Attributes:
        index: Place of the shard among all.
        result: What the work returned.
        seconds: How long the work took where it was done.
        processor_seconds: How long it was computing there, all its threads together.
    """

    index: int
    result: R
    seconds: float
    processor_seconds: float


@dataclass(frozen=True, kw_only=True)
class EngineReport:
    """How far an engine is.

    Attributes:
        workers: Processes that are at work now.
        done: Shards that are finished, with those that were before.
        total: All shards.
        lost: Workers that have been lost and replaced.
    """

    workers: int
    done: int
    total: int
    lost: int


def ignore_report(report: EngineReport) -> None:
    """Take a report and do nothing with it."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How shards are spread over workers; none of it changes what is computed but ``threads``.

    Attributes:
        workers: Processes; ``None`` is one a GPU or a core, or as many as a cluster has.
        threads: Threads of each worker; ``None`` divides the cores of this machine. Fourier
            transforms of projections round otherwise with another number.
        gpus: Whether each worker computes on a GPU, and sees no other.
        retries: How often a shard may be lost with its worker and done again.
        address: Of a running cluster, for "dask" and "ray"; without it they start one here.
        folder: On a disk that all ranks share, for "ranks"; made where only it is missing.
        patience: Seconds without any other rank's shard after which the first rank does one
            of theirs itself.
        on_report: Told about every second, and after every shard; what it raises ends the work.
    """

    workers: int | None = None
    threads: int | None = None
    gpus: bool = False
    retries: int = 2
    address: str | None = None
    folder: Path | None = None
    patience: float = 600.0
    on_report: Callable[[EngineReport], None] = ignore_report

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("threads", 1), ("retries", 0)):
            number = getattr(self, name)
            if number is not None and not (type(number) is int and number >= least):
                raise ConfigurationError(
                    f"Found {name} = {number!r:.80}; expected a whole number from {least} on. "
                    "Correct it, or leave it out."
                )

    def threads_of(self, workers: int) -> int:
        """Return the threads of each of so many workers on this machine."""
        return self.threads or max(1, count_cores() // workers)


def count_cores() -> int:
    """Return the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS binds no process to cores
