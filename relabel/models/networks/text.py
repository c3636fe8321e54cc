"""What the built-in networks for texts are made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from relabel.features.ngrams import NgramEncoder
from relabel.features.text import TextEncoder
from relabel.models.registry import (
    NetworkRequest,
    TrainingSuggestion,
    choose_hidden,
    register_network,
    require_at_least,
)
from tracin_core.errors import ConfigurationError

# Share of a text's words that a step of the training does not see. Without it the network learns
# single texts, wrong labels and all, by their rare words (Iyyer et al. 2015, ACL P15-1162).
# Chosen by the held-out accuracy on texts whose labels were as noisy as those trained on.
WORD_DROPOUT = 0.5


@register_network(
    title="Mean of word embeddings",
    description="Sees which words a text has and not their order. Learns tens of thousands of "
    "texts in a minute or two.",
    kinds=("text",),
    build="relabel.models.build:make_word_embedding",
    training=TrainingSuggestion(epochs=20, learning_rate=0.2),
    is_suggested=True,
)
@dataclass(frozen=True, kw_only=True)
class WordEmbeddingConfig:
    """The mean of word embeddings, a hidden layer and the outputs.

    The "Simple Word-Embedding model" of the TracIn FAQ's text example.

    Attributes:
        num_ids: Different word ids, with padding (0) and unknown (1).
        num_outputs: Logits ``K``, or 1 for regression.
        embedding: Numbers per word.
        hidden: Width of the hidden layer.
        word_dropout: Share of the words that a step of the training does not see.
        seed: Chooses the initial weights.
    """

    name: ClassVar[str] = "word_embedding"

    num_ids: int
    num_outputs: int
    embedding: int = 128
    hidden: int = 64
    word_dropout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(self, {"num_ids": 2, "num_outputs": 1, "embedding": 1, "hidden": 1})
        if not 0 <= self.word_dropout < 1:
            raise ConfigurationError(
                f"Found word_dropout {self.word_dropout} for the {self.name} network, expected a "
                "share from 0 to below 1. Correct it in the model's settings."
            )

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self)}

    @classmethod
    def for_encoder(cls, encoder: TextEncoder, request: NetworkRequest) -> WordEmbeddingConfig:
        """Return the configuration for texts as an encoder makes them."""
        return cls(
            num_ids=encoder.num_ids,
            hidden=choose_hidden(request.num_outputs),
            word_dropout=WORD_DROPOUT,
            num_outputs=request.num_outputs,
            seed=request.seed,
        )


# Networks with attention need smaller steps than the plain ones.
@register_network(
    title="Small transformer",
    description="Reads the words in their order. Better where order matters, and several times "
    "slower.",
    kinds=("text",),
    build="relabel.models.build:SmallTransformer",
    training=TrainingSuggestion(epochs=12, learning_rate=0.02, is_large=True),
)
@dataclass(frozen=True, kw_only=True)
class SmallTransformerConfig:
    """A transformer encoder over the words, their mean, and the outputs.

    Attributes:
        num_ids: Different word ids, with padding (0) and unknown (1).
        num_outputs: Logits ``K``, or 1 for regression.
        max_tokens: Words in the longest text.
        width: Numbers per word; a multiple of ``heads``.
        heads: Attention heads of each layer.
        layers: Encoder layers.
        hidden: Width inside the layers' feed-forward parts.
        dropout: Share of numbers dropped in training.
        seed: Chooses the initial weights.
    """

    name: ClassVar[str] = "small_transformer"

    num_ids: int
    num_outputs: int
    max_tokens: int
    width: int = 128
    heads: int = 4
    layers: int = 2
    hidden: int = 256
    dropout: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"num_ids": 2, "num_outputs": 1, "max_tokens": 1, "heads": 1, "layers": 1}
        require_at_least(self, {**least, "width": 1, "hidden": 1})
        if self.width % self.heads or not 0 <= self.dropout < 1:
            raise ConfigurationError(
                f"Found width {self.width} with {self.heads} heads and dropout {self.dropout}, "
                "expected a width that the heads can share, and a dropout from 0 to below 1. "
                "Correct them in the model's settings."
            )

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self)}

    @classmethod
    def for_encoder(cls, encoder: TextEncoder, request: NetworkRequest) -> SmallTransformerConfig:
        """Return the configuration for texts as an encoder makes them."""
        return cls(
            num_ids=encoder.num_ids,
            max_tokens=encoder.max_tokens,
            num_outputs=request.num_outputs,
            seed=request.seed,
        )


# Rows of length one bear large steps. Of 1 to 10, with 8 epochs, 5 and 10 agreed best with held-out
# labels (AG News 85.3 and 85.7%, film reviews 89.6 and 89.2%), and 10 begins to learn by heart.
@register_network(
    title="Linear over words and pairs of words",
    description="Weighs each word and each pair of words of the whole text. Learns thousands of "
    "texts in seconds, and says by which words it was influenced.",
    kinds=("text",),
    takes="ngrams",
    build="relabel.models.build:NgramLinear",
    training=TrainingSuggestion(epochs=8, learning_rate=5.0, batch_size=128),
)
@dataclass(frozen=True, kw_only=True)
class NgramLinearConfig:
    """A weight of each term for each output, summed over a text's terms, and a constant.

    Attributes:
        num_terms: Terms ``V``.
        num_outputs: Logits ``K``, or 1 for regression.
        seed: Chooses the order of the examples; all weights begin at 0.
    """

    name: ClassVar[str] = "ngram_linear"

    num_terms: int
    num_outputs: int
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(self, {"num_terms": 0, "num_outputs": 1})

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self)}

    @classmethod
    def for_encoder(cls, encoder: NgramEncoder, request: NetworkRequest) -> NgramLinearConfig:
        """Return the configuration for texts as an encoder makes them."""
        return cls(num_terms=encoder.num_terms, num_outputs=request.num_outputs, seed=request.seed)
