"""Which engine does the shards of a scoring, as a person chose it. Imports torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from relabel.training.threads import is_small
from tracin_core.scale import DEFAULT_ENGINE, EngineConfig
from tracin_core.scale.config import count_cores
from tracin_core.scale.engines.ranks import choose_local_device

RANKS = "ranks"


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """What does the shards.

    Attributes:
        name: Of the engine.
        workers: Its processes; None for one a GPU or a core, or as many as a cluster has.
        address: Of a running cluster.
    """

    name: str = DEFAULT_ENGINE
    workers: int | None = None
    address: str | None = None

    def choose_device(self, device: str) -> str:
        """Return the device, of which each rank of a machine takes one of its own."""
        return choose_local_device(device) if self.name == RANKS else device

    def count_threads(self, model: nn.Module) -> int:
        """Return the threads on which each worker computes.

        One for a small network, as everywhere; of a large one the cores are divided.
        """
        if is_small(model):
            return 1
        if self.name in (DEFAULT_ENGINE, RANKS):  # in this process: torch or its starter said
            return torch.get_num_threads()
        return EngineConfig().threads_of(self.workers or count_cores())


HERE = EngineChoice()
