"""Which networks there are, and how each comes back from the JSON saved with every run."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tracin_core.errors import ConfigurationError
from tracin_core.models.image_configs import ResNet18Config, SmallCNNConfig
from tracin_core.models.own import OwnModelConfig
from tracin_core.models.registry import NetworkConfig, find_network, list_networks
from tracin_core.models.suggestion import available, suggest_model
from tracin_core.models.table_configs import MLPConfig
from tracin_core.models.text_configs import SmallTransformerConfig, WordEmbeddingConfig

__all__ = [
    "MLPConfig",
    "ModelConfig",
    "NetworkConfig",
    "OwnModelConfig",
    "ResNet18Config",
    "SmallCNNConfig",
    "SmallTransformerConfig",
    "WordEmbeddingConfig",
    "available",
    "model_config_from_json",
    "suggest_model",
]

ModelConfig = NetworkConfig | OwnModelConfig


def model_config_from_json(data: dict[str, Any]) -> ModelConfig:
    """Make the configuration that ``to_json`` described.

    Raises:
        ConfigurationError: If this version knows no such network, or not with these settings.
    """
    kind = _find_config(str(data.get("name")))
    if kind is None:
        names = [network.name for network in list_networks()]
        raise ConfigurationError(
            f"Found a network called {data.get('name')!r}, expected one of {', '.join(names)} or "
            f"{OwnModelConfig.name}. Train the project again with one of these."
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
    # JSON knows no tuples.
    settings = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    try:
        config: ModelConfig = kind(**settings)
    except TypeError as error:
        raise ConfigurationError(
            f"The saved {kind.name} cannot be read ({error}). Train the project again."
        ) from error
    return config


def _find_config(name: str) -> type[Any] | None:
    if name == OwnModelConfig.name:
        return OwnModelConfig
    network = find_network(name)
    return None if network is None else network.config
