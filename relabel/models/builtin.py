"""Which built-in networks there are for which data, and how a saved configuration is read back.

Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from relabel.features.encoding import Encoder
from relabel.features.frozen import FeatureEncoder
from relabel.features.image import ImageEncoder
from relabel.features.ngrams import NgramEncoder
from relabel.features.text import TextEncoder
from relabel.models.registry import (
    Network,
    NetworkConfig,
    NetworkRequest,
    find_network,
    list_networks,
)
from relabel.models.user.config import OwnModelConfig
from relabel.text import Kind, Task
from tracin_core.errors import ConfigurationError


def available(kind: Kind, task: Task = "classification") -> tuple[str, ...]:
    """Return the names of the built-in networks for some data, the suggested one first.

    On two processor cores that one trains in seconds to minutes, where others may take an hour:
    what ranks label errors is a network that has learned what is common, and the small ones do.

    Args:
        kind: What an example is.
        task: What is predicted.
    """
    return tuple(network.name for network in list_networks(kind, task))


def choose_network(kind: Kind, task: Task, model: str, weights: str | None = None) -> Network:
    """Return the built-in network that is meant.

    Args:
        kind: What an example is.
        task: What is predicted.
        model: Its name, or "auto".
        weights: Local file with weights to begin with.

    Raises:
        ConfigurationError: If there is no such network for these data, or it takes no weights.
    """
    networks = {network.name: network for network in list_networks(kind, task)}
    beginners = [network.name for network in list_networks() if network.load_weights is not None]
    # A network on features takes a file, too: in the place of its backbone's weights.
    takers = beginners + [each.name for each in list_networks() if each.takes == "features"]
    wanted = list(networks)
    if weights is not None:
        wanted = [name for name in networks if name in beginners] or takers
    chosen = wanted[0] if model == "auto" and wanted else model
    if chosen not in networks or (weights is not None and chosen not in takers):
        what = f"the model {chosen!r}" if chosen not in networks else f"weights for {chosen}"
        raise ConfigurationError(
            f"Found {what} for a project of the kind {kind!r}, expected one of "
            f"{', '.join(networks)}; weights to begin with are for {', '.join(takers)}. Choose "
            "among these, or give a network of your own as path/to/file.py:function."
        )
    return networks[chosen]


def suggest_model(
    encoder: Encoder,
    num_outputs: int,
    *,
    task: Task = "classification",
    model: str = "auto",
    seed: int = 0,
    weights: str | None = None,
    weights_sha256: str = "",
) -> NetworkConfig:
    """Return the built-in network that fits an encoder.

    Args:
        encoder: What makes the network's input.
        num_outputs: Logits ``K``, or 1 for regression.
        task: What is predicted.
        model: Its name, or "auto".
        seed: Chooses the initial weights.
        weights: Local file with weights to begin with.
        weights_sha256: Digest of that file.

    Raises:
        ConfigurationError: If there is no such network for this kind of data.
    """
    kind: Kind = "image"
    if isinstance(encoder, FeatureEncoder):
        kind = encoder.of
    elif not isinstance(encoder, ImageEncoder):
        kind = "text" if isinstance(encoder, TextEncoder | NgramEncoder) else "table"
    request = NetworkRequest(
        num_outputs=num_outputs, seed=seed, weights=weights, weights_sha256=weights_sha256
    )
    return choose_network(kind, task, model, weights).config.for_encoder(encoder, request)


ModelConfig = NetworkConfig | OwnModelConfig


def model_config_from_json(data: dict[str, Any]) -> ModelConfig:
    """Return the configuration that ``to_json`` described.

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
