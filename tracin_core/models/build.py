"""Make a network from its configuration. Imports torch."""

from __future__ import annotations

import torch
from torch import nn

from tracin_core.models.config import ModelConfig
from tracin_core.models.image_configs import ResNet18Config, SmallCNNConfig
from tracin_core.models.mlp import make_mlp
from tracin_core.models.own import OwnModelConfig
from tracin_core.models.own_loading import load_own_model
from tracin_core.models.resnet18 import make_resnet18
from tracin_core.models.small_cnn import make_small_cnn
from tracin_core.models.small_transformer import SmallTransformer
from tracin_core.models.text_configs import SmallTransformerConfig, WordEmbeddingConfig
from tracin_core.models.word_embedding import make_word_embedding


def build_model(config: ModelConfig, *, run_my_code: bool = False) -> nn.Module:
    """Return the network with its initial weights, on the CPU and in training mode.

    The same configuration gives the same weights; torch's global random state is left as it was.

    Args:
        config: A built-in network's, or that of a person's own.
        run_my_code: Whether the person has agreed to run the file that their own comes from.

    Raises:
        ConfigurationError: If they have not, or their file does not give a network.
    """
    if isinstance(config, OwnModelConfig):
        return load_own_model(config, run_my_code=run_my_code).model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if isinstance(config, SmallCNNConfig):
            return make_small_cnn(config)
        if isinstance(config, ResNet18Config):
            return make_resnet18(config)
        if isinstance(config, WordEmbeddingConfig):
            return make_word_embedding(config)
        if isinstance(config, SmallTransformerConfig):
            return SmallTransformer(config)
        return make_mlp(config)
