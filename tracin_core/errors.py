"""The errors a person can act on: the engine's and the application's.

Each message has three parts: what was found (with values), what was expected, and the next
step. A page shows the text of a ``TracInError``; every other exception is a bug and surfaces.
"""

from __future__ import annotations

from tracin_core.application_errors import (
    DatabaseError,
    DatabaseFullError,
    InvalidDecisionError,
    JobError,
    NotFoundError,
    RunFolderError,
    StaleDecisionError,
    WorkspaceError,
)
from tracin_core.engine_errors import (
    CheckpointError,
    ConfigurationError,
    GradientError,
    InputError,
    RetrievalError,
    StorageError,
    TracInError,
)

__all__ = [
    "CheckpointError",
    "ConfigurationError",
    "DatabaseError",
    "DatabaseFullError",
    "GradientError",
    "InputError",
    "InvalidDecisionError",
    "JobError",
    "NotFoundError",
    "RetrievalError",
    "RunFolderError",
    "StaleDecisionError",
    "StorageError",
    "TracInError",
    "WorkspaceError",
]
