"""The FAQ's simple word-embedding network for texts."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from tracin_core.examples.text_encoder import PADDING
from tracin_core.models.text_configs import WordEmbeddingConfig

# torch draws embeddings with deviation 1, which lets a network memorise single texts by their
# rare words before it has learned anything common; small ones have to agree first.
INITIAL_DEVIATION = 0.1


class WordDropout(nn.Module):
    """Replaces a share of the words by padding in training mode, and none in evaluation mode."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, ids: Tensor) -> Tensor:
        """Return word ids of the same shape."""
        if not self.training or not self.share:
            return ids
        is_dropped = torch.rand(ids.shape, device=ids.device) < self.share
        return ids.masked_fill(is_dropped, PADDING)


def make_word_embedding(config: WordEmbeddingConfig) -> nn.Module:
    """Return a network from word ids ``(B, max_tokens)`` to logits ``(B, K)``.

    The mean leaves out padding, so the length a text is padded to changes nothing.
    """
    embedding = nn.EmbeddingBag(config.num_ids, config.embedding, mode="mean", padding_idx=PADDING)
    with torch.no_grad():
        embedding.weight.mul_(INITIAL_DEVIATION)
    layers: list[tuple[str, nn.Module]] = [
        ("word_dropout", WordDropout(config.word_dropout)),
        ("embedding", embedding),
        ("hidden", nn.Linear(config.embedding, config.hidden)),
        ("relu", nn.ReLU()),
        ("logits", nn.Linear(config.hidden, config.num_outputs)),
    ]
    return nn.Sequential(OrderedDict(layers))
