"""The errors a person can act on.

Each message has three parts: what was found (with values), what was expected, and the next
step. A page shows the text of a ``TracInError``; every other exception is a bug and surfaces.
"""

from __future__ import annotations


class TracInError(Exception):
    """Base of every error whose message is written for the person who meets it."""


class ConfigurationError(TracInError):
    """An option has a value that cannot work."""


class WorkspaceError(TracInError):
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


class InputError(TracInError):
    """An uploaded or imported input cannot be read as what it should be."""


class RunFolderError(TracInError):
    """A run's folder is missing, incomplete or corrupt."""


class CheckpointError(TracInError):
    """A checkpoint cannot be read, does not fit the network, or lacks its learning rate."""


class GradientError(TracInError):
    """Per-example gradients cannot be computed exactly, or are not finite."""


class RetrievalError(TracInError):
    """An index cannot be built, read or searched."""


class JobError(TracInError):
    """Long work cannot start, was cancelled, or died."""
