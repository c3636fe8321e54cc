"""Training-data influence by TracIn: self-influence, proponents, opponents, label review.

All but the errors is loaded on first use, because most of it needs torch (seconds and hundreds of
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
    ShardLostError,
    StorageError,
    TracInError,
)

if TYPE_CHECKING:
    from tracin_core.attribution import (
        AttributionSetup,
        Attributor,
        CaptureAttributor,
        FittedAttributor,
        VectorAttributor,
        get_method,
        list_methods,
        register_attributor,
    )
    from tracin_core.capture.signals import Capture
    from tracin_core.checkpoints import Checkpoint, find_checkpoints
    from tracin_core.gradients.factored import Contribution, Dense, Outer
    from tracin_core.gradients.plan import Coverage, ParameterCoverage
    from tracin_core.gradients.rule_check import check_gradient_rule
    from tracin_core.gradients.rules.registry import UnsupportedUseError, gradient_rule
    from tracin_core.own_model import OwnModel
    from tracin_core.projection.config import Projection
    from tracin_core.retrieval.exact import SearchResult
    from tracin_core.retrieval.index import Index, build_index, open_index
    from tracin_core.tracin import TracIn

__version__ = "0.1.0"

_LAZY = {
    "AttributionSetup": "tracin_core.attribution",
    "Attributor": "tracin_core.attribution",
    "Capture": "tracin_core.capture.signals",
    "CaptureAttributor": "tracin_core.attribution",
    "Checkpoint": "tracin_core.checkpoints",
    "Contribution": "tracin_core.gradients.factored",
    "Coverage": "tracin_core.gradients.plan",
    "Dense": "tracin_core.gradients.factored",
    "FittedAttributor": "tracin_core.attribution",
    "Index": "tracin_core.retrieval.index",
    "Outer": "tracin_core.gradients.factored",
    "OwnModel": "tracin_core.own_model",
    "ParameterCoverage": "tracin_core.gradients.plan",
    "Projection": "tracin_core.projection.config",
    "SearchResult": "tracin_core.retrieval.exact",
    "TracIn": "tracin_core.tracin",
    "UnsupportedUseError": "tracin_core.gradients.rules.registry",
    "VectorAttributor": "tracin_core.attribution",
    "build_index": "tracin_core.retrieval.index",
    "check_gradient_rule": "tracin_core.gradients.rule_check",
    "find_checkpoints": "tracin_core.checkpoints",
    "get_method": "tracin_core.attribution",
    "gradient_rule": "tracin_core.gradients.rules.registry",
    "list_methods": "tracin_core.attribution",
    "open_index": "tracin_core.retrieval.index",
    "register_attributor": "tracin_core.attribution",
}

__all__ = [
    "AttributionSetup",
    "Attributor",
    "Capture",
    "CaptureAttributor",
    "Checkpoint",
    "CheckpointError",
    "ConfigurationError",
    "Contribution",
    "Coverage",
    "Dense",
    "FittedAttributor",
    "GradientError",
    "Index",
    "InputError",
    "Outer",
    "OwnModel",
    "ParameterCoverage",
    "Projection",
    "RetrievalError",
    "SearchResult",
    "ShardLostError",
    "StorageError",
    "TracIn",
    "TracInError",
    "UnsupportedUseError",
    "VectorAttributor",
    "__version__",
    "build_index",
    "check_gradient_rule",
    "find_checkpoints",
    "get_method",
    "gradient_rule",
    "list_methods",
    "open_index",
    "register_attributor",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
