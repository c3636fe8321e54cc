"""Work that a test gives to an engine; at the top of a module, as other processes import it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tracin_core.errors import InputError


def add_up(shard: range) -> dict[str, np.ndarray]:
    """Return numbers that depend on the order in which they are added."""
    values = np.random.default_rng(shard.start).normal(size=(len(shard), 1000)).astype(np.float32)
    return {"sums": values.cumsum(axis=1)[:, -1], "process": np.array(os.getpid())}


def refuse(shard: range) -> dict[str, np.ndarray]:
    raise InputError(f"Found the shard {shard.start}.")


@dataclass(frozen=True)
class DiesAt:
    """Ends its process at one shard, the first few times; what it did is counted in a folder."""

    start: int
    folder: Path
    times: int = 1

    def __call__(self, shard: range) -> dict[str, np.ndarray]:
        if shard.start == self.start:
            deaths = len(list(self.folder.glob("death-*")))
            if deaths < self.times:
                (self.folder / f"death-{deaths}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return add_up(shard)


@dataclass(frozen=True)
class Slow:
    """Writes its process's number, then takes long."""

    folder: Path

    def __call__(self, shard: range) -> dict[str, np.ndarray]:
        (self.folder / f"worker-{os.getpid()}").touch()
        time.sleep(60)
        return {}
