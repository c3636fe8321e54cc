"""Training-data influence by TracIn: self-influence, proponents, opponents, label review.

All but the errors is loaded on first use, because it needs torch (seconds and hundreds of
megabytes) and everything served from stored scores does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tracin_core.errors import (
    CheckpointError,
    ConfigurationError,
    GradientError,
    InputError,
    RetrievalError,
    StorageError,
    TracInError,
)

if TYPE_CHECKING:
    from tracin_core.capture.signals import Capture
    from tracin_core.checkpoints import Checkpoint, find_checkpoints
    from tracin_core.gradients.factored import Contribution, Dense, Outer
    from tracin_core.gradients.plan import Coverage, ParameterCoverage
    from tracin_core.gradients.rule_check import check_gradient_rule
    from tracin_core.gradients.rules.registry import UnsupportedUseError, gradient_rule
    from tracin_core.own_model import OwnModel
    from tracin_core.projection.config import Projection
    from tracin_core.retrieval.index import Index, build_index, open_index
    from tracin_core.tracin import TracIn

__version__ = "0.1.0"

_LAZY = {
    "Capture": "tracin_core.capture.signals",
    "Checkpoint": "tracin_core.checkpoints",
    "Contribution": "tracin_core.gradients.factored",
    "Coverage": "tracin_core.gradients.plan",
    "Dense": "tracin_core.gradients.factored",
    "Index": "tracin_core.retrieval.index",
    "Outer": "tracin_core.gradients.factored",
    "OwnModel": "tracin_core.own_model",
    "ParameterCoverage": "tracin_core.gradients.plan",
    "Projection": "tracin_core.projection.config",
    "TracIn": "tracin_core.tracin",
    "UnsupportedUseError": "tracin_core.gradients.rules.registry",
    "build_index": "tracin_core.retrieval.index",
    "check_gradient_rule": "tracin_core.gradients.rule_check",
    "find_checkpoints": "tracin_core.checkpoints",
    "gradient_rule": "tracin_core.gradients.rules.registry",
    "open_index": "tracin_core.retrieval.index",
}

__all__ = [
    "Capture",
    "Checkpoint",
    "CheckpointError",
    "ConfigurationError",
    "Contribution",
    "Coverage",
    "Dense",
    "GradientError",
    "Index",
    "InputError",
    "Outer",
    "OwnModel",
    "ParameterCoverage",
    "Projection",
    "RetrievalError",
    "StorageError",
    "TracIn",
    "TracInError",
    "UnsupportedUseError",
    "__version__",
    "build_index",
    "check_gradient_rule",
    "find_checkpoints",
    "gradient_rule",
    "open_index",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
