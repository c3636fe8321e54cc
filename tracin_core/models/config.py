"""Which networks there are, and how each comes back from the JSON saved with every run."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tracin_core.errors import ConfigurationError
from tracin_core.models.image_configs import ResNet18Config, SmallCNNConfig
from tracin_core.models.own import OwnModelConfig
from tracin_core.models.suggestion import BuiltInConfig, available, suggest_model
from tracin_core.models.table_configs import MLPConfig
from tracin_core.models.text_configs import SmallTransformerConfig, WordEmbeddingConfig

__all__ = [
    "BuiltInConfig",
    "MLPConfig",
    "ModelConfig",
    "OwnModelConfig",
    "ResNet18Config",
    "SmallCNNConfig",
    "SmallTransformerConfig",
    "WordEmbeddingConfig",
    "available",
    "model_config_from_json",
    "suggest_model",
]

ModelConfig = BuiltInConfig | OwnModelConfig
_CONFIGS: tuple[type[ModelConfig], ...] = (
    SmallCNNConfig,
    ResNet18Config,
    WordEmbeddingConfig,
    SmallTransformerConfig,
    MLPConfig,
    OwnModelConfig,
)
_KNOWN: dict[str, type[ModelConfig]] = {config.name: config for config in _CONFIGS}
# Settings that JSON turns into lists.
_TUPLES = {"filters", "hidden", "classes"}


def model_config_from_json(data: dict[str, Any]) -> ModelConfig:
    """Make the configuration that ``to_json`` described.

    Raises:
        ConfigurationError: If this version knows no such network, or not with these settings.
    """
    kind = _KNOWN.get(str(data.get("name")))
    if kind is None:
        raise ConfigurationError(
            f"Found a network called {data.get('name')!r}, expected one of "
            f"{', '.join(_KNOWN)}. Train the project again with one of these."
        )
    settings = {name: value for name, value in data.items() if name != "name"}
    if "num_classes" in settings:  # what it was called before there was regression
        settings["num_outputs"] = settings.pop("num_classes")
    known = {entry.name for entry in fields(kind)}
    if not set(settings) <= known:
        raise ConfigurationError(
            f"The saved {kind.name} has settings that this version does not know: "
            f"{', '.join(sorted(set(settings) - known))}. Update the program, or train again."
        )
    for name in _TUPLES & set(settings):
        if isinstance(settings[name], list):
            settings[name] = tuple(settings[name])
    try:
        return kind(**settings)
    except TypeError as error:
        raise ConfigurationError(
            f"The saved {kind.name} cannot be read ({error}). Train the project again."
        ) from error
