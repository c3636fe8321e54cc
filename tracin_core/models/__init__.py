"""Built-in networks and how to make them from a saved configuration.

``config`` does not import torch; ``build`` does, so ``build_model`` is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracin_core.models.config import (
    MLPConfig,
    ModelConfig,
    ResNet18Config,
    SmallCNNConfig,
    SmallTransformerConfig,
    WordEmbeddingConfig,
    available,
    model_config_from_json,
    suggest_model,
)

if TYPE_CHECKING:
    from tracin_core.models.build import build_model

__all__ = [
    "MLPConfig",
    "ModelConfig",
    "ResNet18Config",
    "SmallCNNConfig",
    "SmallTransformerConfig",
    "WordEmbeddingConfig",
    "available",
    "build_model",
    "model_config_from_json",
    "suggest_model",
]


def __getattr__(name: str) -> Any:
    if name == "build_model":
        from tracin_core.models.build import build_model

        return build_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
