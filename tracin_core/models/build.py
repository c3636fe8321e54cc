"""Make a built-in network from its configuration. Imports torch."""

from __future__ import annotations

import torch
from torch import nn

from tracin_core.models.config import ModelConfig, SmallCNNConfig
from tracin_core.models.small_cnn import make_small_cnn
from tracin_core.models.word_embedding import make_word_embedding


def build_model(config: ModelConfig) -> nn.Module:
    """Return the network with its initial weights, on the CPU and in training mode.

    The same configuration gives the same weights; torch's global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if isinstance(config, SmallCNNConfig):
            return make_small_cnn(config)
        return make_word_embedding(config)
