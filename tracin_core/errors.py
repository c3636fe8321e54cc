"""The errors of the engine that a person can act on.

Each message has three parts: what was found (with values), what was expected, and the next
step. Whoever shows a ``TracInError`` shows its text; every other exception is a bug and surfaces.
"""

from __future__ import annotations


class TracInError(Exception):
    """Base of every error whose message is written for the person who meets it."""


class ConfigurationError(TracInError):
    """An option has a value that cannot work."""


class InputError(TracInError):
    """A path or an input cannot be read as what it should be."""


class StorageError(TracInError):
    """A file or folder cannot be written: the disk is full or failing, or it is not allowed."""


class CheckpointError(TracInError):
    """A checkpoint cannot be read, does not fit the network, or lacks its learning rate."""


class GradientError(TracInError):
    """Per-example gradients cannot be computed exactly, or are not finite."""


class RetrievalError(TracInError):
    """An index cannot be built, read or searched."""


class ShardLostError(TracInError):
    """A part of the work was lost with its worker as often as it may be."""
