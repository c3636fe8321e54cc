"""One run's folder on disk: configuration, signals, vectors; read without torch."""

from tracin_core.runs.config import (
    CheckpointEntry,
    IndexEntry,
    ProjectionEntry,
    RunConfig,
    TargetScale,
)
from tracin_core.runs.folder import RunFolder
from tracin_core.runs.signals import Signals

__all__ = [
    "CheckpointEntry",
    "IndexEntry",
    "ProjectionEntry",
    "RunConfig",
    "RunFolder",
    "Signals",
    "TargetScale",
]
