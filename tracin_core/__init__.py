"""Training-data influence by TracIn: self-influence, proponents, opponents, label review.

The names in ``__all__`` are loaded on first use, because they need torch (seconds and hundreds of
megabytes) and everything served from stored scores does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracin_core.gradients.projection import Projection
    from tracin_core.influence.checkpoint_folders import find_checkpoints
    from tracin_core.influence.checkpoints import Checkpoint
    from tracin_core.influence.tracin import TracIn
    from tracin_core.models.own import OwnModel

__version__ = "0.1.0"

_LAZY = {
    "Checkpoint": "tracin_core.influence.checkpoints",
    "OwnModel": "tracin_core.models.own",
    "Projection": "tracin_core.gradients.projection",
    "TracIn": "tracin_core.influence.tracin",
    "find_checkpoints": "tracin_core.influence.checkpoint_folders",
}

__all__ = ["Checkpoint", "OwnModel", "Projection", "TracIn", "find_checkpoints", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
