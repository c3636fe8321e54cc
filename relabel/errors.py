"""The errors of the application that a person can act on, beside those of the engine."""

from __future__ import annotations

from tracin_core.errors import StorageError, TracInError


class WorkspaceError(StorageError):
    """The workspace folder cannot be used: missing, unwritable, or out of space."""


class DatabaseError(TracInError):
    """The database cannot be used: newer than this program, corrupt, locked or unreachable."""


class DatabaseFullError(DatabaseError):
    """The database has no room to write: its disk is full or failing, or its file at a limit."""


class NotFoundError(TracInError):
    """A project, run or example that was asked for does not exist."""


class StaleDecisionError(TracInError):
    """A decision was made on a state of the example that is no longer the current one."""


class InvalidDecisionError(TracInError):
    """A decision that makes no sense: an unknown class, an undo of nothing."""


class NotAllowedError(TracInError):
    """Somebody wants what only a lead may do."""


class RunFolderError(TracInError):
    """A run's folder is missing, incomplete or corrupt."""


class StoreError(TracInError):
    """A store of runs cannot be reached or used, or what lies in it is damaged."""


class JobError(TracInError):
    """Long work cannot start, was cancelled, or died."""
