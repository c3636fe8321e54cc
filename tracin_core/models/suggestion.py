"""Which built-in network suits which data."""

from __future__ import annotations

from typing import Any

from tracin_core.errors import ConfigurationError
from tracin_core.examples.encoding import Encoder
from tracin_core.examples.image_encoder import ImageEncoder
from tracin_core.examples.text_encoder import TextEncoder
from tracin_core.models.image_configs import ResNet18Config, SmallCNNConfig
from tracin_core.models.table_configs import MLPConfig
from tracin_core.models.text_configs import SmallTransformerConfig, WordEmbeddingConfig
from tracin_core.terms import Kind, Task

BuiltInConfig = (
    SmallCNNConfig | ResNet18Config | WordEmbeddingConfig | SmallTransformerConfig | MLPConfig
)

# By kind, the one that is taken where nobody chooses first. On two processor cores it trains in
# seconds to minutes, where the other one takes an hour: what ranks label errors is a network
# that has learned what is common, and the small ones do.
_AVAILABLE: dict[Kind, tuple[str, ...]] = {
    "image": (SmallCNNConfig.name, ResNet18Config.name),
    "text": (WordEmbeddingConfig.name, SmallTransformerConfig.name),
    "table": (MLPConfig.name,),
}
# Share of a text's words that a step of the training does not see. Without it the network learns
# single texts, wrong labels and all, by their rare words (Iyyer et al. 2015, ACL P15-1162).
# Chosen by the held-out accuracy on texts whose labels were as noisy as those trained on.
WORD_DROPOUT = 0.5
# From so many classes on, a hidden layer of 64 numbers holds too little to tell them apart; with
# many more the outputs are most of the network, so it grows no further.
MANY_CLASSES, WIDE = 100, 256


def available(kind: Kind, task: Task = "classification") -> tuple[str, ...]:
    """Return the names of the built-in networks for some data, the suggested one first.

    Args:
        kind: What an example is.
        task: What is predicted; all networks do both.
    """
    return _AVAILABLE[kind]


def suggest_model(
    encoder: Encoder,
    num_outputs: int,
    *,
    model: str = "auto",
    seed: int = 0,
    weights: str | None = None,
    weights_sha256: str = "",
) -> BuiltInConfig:
    """Return the built-in network that fits an encoder.

    Args:
        encoder: What makes the network's input.
        num_outputs: Logits ``K``, or 1 for regression.
        model: Its name, or "auto".
        seed: Chooses the initial weights.
        weights: Local file with weights to begin with, for resnet18.
        weights_sha256: Digest of that file.

    Raises:
        ConfigurationError: If there is no such network for this kind of data.
    """
    kind: Kind = "image"
    if not isinstance(encoder, ImageEncoder):
        kind = "text" if isinstance(encoder, TextEncoder) else "table"
    names = available(kind)
    chosen = names[0] if model == "auto" and weights is None else model
    chosen = ResNet18Config.name if model == "auto" and weights is not None else chosen
    if chosen not in names or (weights is not None and chosen != ResNet18Config.name):
        what = f"the model {chosen!r}" if chosen not in names else f"weights for {chosen}"
        raise ConfigurationError(
            f"Found {what} for a project of the kind {kind!r}, expected one of "
            f"{', '.join(names)}; weights to begin with are for resnet18. Choose among these, "
            "or give a network of your own as path/to/file.py:function."
        )
    common: dict[str, Any] = {"num_outputs": num_outputs, "seed": seed}
    hidden = WIDE if num_outputs >= MANY_CLASSES else 64
    if isinstance(encoder, ImageEncoder):
        sides: dict[str, Any] = {
            "height": encoder.height,
            "width": encoder.width,
            "channels": encoder.channels,
        }
        if chosen == ResNet18Config.name:
            return ResNet18Config(**sides, **common, weights=weights, weights_sha256=weights_sha256)
        return SmallCNNConfig(**sides, **common, hidden=hidden)
    if isinstance(encoder, TextEncoder):
        if chosen == SmallTransformerConfig.name:
            return SmallTransformerConfig(
                num_ids=encoder.num_ids, max_tokens=encoder.max_tokens, **common
            )
        return WordEmbeddingConfig(
            num_ids=encoder.num_ids, hidden=hidden, word_dropout=WORD_DROPOUT, **common
        )
    return MLPConfig(num_inputs=encoder.num_inputs, **common)
