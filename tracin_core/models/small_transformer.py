"""A small transformer encoder for texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracin_core.examples.text_encoder import PADDING
from tracin_core.models.text_configs import SmallTransformerConfig

# As for the mean of word embeddings: torch's deviation of 1 lets single rare words decide.
INITIAL_DEVIATION = 0.1


class SmallTransformer(nn.Module):
    """From word ids ``(B, max_tokens)`` to outputs ``(B, K)``; padding changes nothing."""

    def __init__(self, config: SmallTransformerConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.num_ids, config.width, padding_idx=PADDING)
        self.places = nn.Parameter(torch.zeros(config.max_tokens, config.width))
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            config.hidden,
            config.dropout,
            batch_first=True,
            norm_first=True,
        )
        # Nested tensors would give a batch another shape than its examples have alone.
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.outputs = nn.Linear(config.width, config.num_outputs)
        with torch.no_grad():
            self.embedding.weight.mul_(INITIAL_DEVIATION)
            self.places.normal_(std=INITIAL_DEVIATION)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the outputs for some texts."""
        is_padding = ids == PADDING
        words = self.embedding(ids) + self.places[: ids.shape[1]]
        seen = self.encoder(words, src_key_padding_mask=is_padding)
        shares = (~is_padding).to(seen.dtype).unsqueeze(2)
        means = (seen * shares).sum(1) / shares.sum(1).clamp(min=1.0)
        outputs: Tensor = self.outputs(means)
        return outputs
