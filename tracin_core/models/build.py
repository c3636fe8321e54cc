"""Make a network from its configuration. Imports torch."""

from __future__ import annotations

import torch
from torch import nn

from tracin_core.errors import ConfigurationError
from tracin_core.models.config import ModelConfig
from tracin_core.models.own import OwnModelConfig
from tracin_core.models.own_loading import load_own_model
from tracin_core.models.registry import find_network


def build_model(config: ModelConfig, *, run_my_code: bool = False) -> nn.Module:
    """Return the network with its initial weights, on the CPU and in training mode.

    The same configuration gives the same weights; torch's global random state is left as it was.

    Args:
        config: A built-in network's, or that of a person's own.
        run_my_code: Whether the person has agreed to run the file that their own comes from.

    Raises:
        ConfigurationError: If they have not, their file does not give a network, or no network
            of this name is registered.
    """
    if isinstance(config, OwnModelConfig):
        return load_own_model(config, run_my_code=run_my_code).model
    network = find_network(config.name)
    if network is None:
        raise ConfigurationError(
            f"Found a configuration of a network called {config.name!r}, which is not registered. "
            "Register its class with register_network."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return network.make(config)
