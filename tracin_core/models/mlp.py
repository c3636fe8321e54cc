"""A network for the rows of a table."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from tracin_core.models.table_configs import MLPConfig


def make_mlp(config: MLPConfig) -> nn.Module:
    """Return a network from ``(B, num_inputs)`` to outputs ``(B, K)``.

    No dropout and no batch normalisation, for the reason given in ``small_cnn``.
    """
    layers: list[tuple[str, nn.Module]] = []
    width = config.num_inputs
    for number, wider in enumerate(config.hidden, start=1):
        layers += [(f"hidden{number}", nn.Linear(width, wider)), (f"relu{number}", nn.ReLU())]
        width = wider
    layers.append(("outputs", nn.Linear(width, config.num_outputs)))
    return nn.Sequential(OrderedDict(layers))
