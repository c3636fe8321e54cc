"""Which built-in network suits which data."""

from __future__ import annotations

from tracin_core.errors import ConfigurationError
from tracin_core.examples.encoding import Encoder
from tracin_core.examples.image_encoder import ImageEncoder
from tracin_core.examples.text_encoder import TextEncoder
from tracin_core.models.registry import Network, NetworkConfig, NetworkRequest, list_networks
from tracin_core.terms import Kind, Task


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
    takers = [network.name for network in list_networks() if network.load_weights is not None]
    wanted = list(networks)
    if weights is not None:
        wanted = [name for name in networks if name in takers] or takers
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
    if not isinstance(encoder, ImageEncoder):
        kind = "text" if isinstance(encoder, TextEncoder) else "table"
    request = NetworkRequest(
        num_outputs=num_outputs, seed=seed, weights=weights, weights_sha256=weights_sha256
    )
    return choose_network(kind, task, model, weights).config.for_encoder(encoder, request)
