"""What the built-in networks on a frozen backbone's features are made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from relabel.features.frozen import FeatureEncoder
from relabel.models.registry import (
    NetworkRequest,
    TrainingSuggestion,
    register_network,
    require_at_least,
)


@register_network(
    title="Linear head on pretrained features",
    description="One linear layer on what a frozen, pretrained network sees in each example. The "
    "features are computed once, about 10 ms a picture; then it trains in seconds and learns "
    "few wrong labels by heart.",
    kinds=("image", "text"),
    takes="features",
    build="relabel.models.build:make_linear_head",
    # Rows of length one have small gradients, so the steps are large.
    training=TrainingSuggestion(epochs=8, learning_rate=2.0, batch_size=128),
)
@dataclass(frozen=True, kw_only=True)
class LinearHeadConfig:
    """One linear layer from a backbone's features to the outputs.

    Attributes:
        num_inputs: Features of an example.
        num_outputs: Logits ``K``, or 1 for regression.
        seed: Chooses the initial weights.
    """

    name: ClassVar[str] = "linear_head"

    num_inputs: int
    num_outputs: int
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(self, {"num_inputs": 1, "num_outputs": 1})

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self)}

    @classmethod
    def for_encoder(cls, encoder: FeatureEncoder, request: NetworkRequest) -> LinearHeadConfig:
        """Return the configuration for a backbone's features."""
        return cls(
            num_inputs=encoder.num_inputs, num_outputs=request.num_outputs, seed=request.seed
        )


@register_network(
    title="Hidden layer on pretrained features",
    description="As the linear head, with a hidden layer between: for classes that the features "
    "do not tell apart by straight lines.",
    kinds=("image", "text"),
    takes="features",
    build="relabel.models.build:make_mlp_head",
    training=TrainingSuggestion(epochs=8, learning_rate=0.5, batch_size=128),
)
@dataclass(frozen=True, kw_only=True)
class MLPHeadConfig:
    """A hidden layer from a backbone's features to the outputs.

    Attributes:
        num_inputs: Features of an example.
        num_outputs: Logits ``K``, or 1 for regression.
        hidden: Width of the hidden layer.
        seed: Chooses the initial weights.
    """

    name: ClassVar[str] = "mlp_head"

    num_inputs: int
    num_outputs: int
    hidden: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(self, {"num_inputs": 1, "num_outputs": 1, "hidden": 1})

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self)}

    @classmethod
    def for_encoder(cls, encoder: FeatureEncoder, request: NetworkRequest) -> MLPHeadConfig:
        """Return the configuration for a backbone's features."""
        return cls(
            num_inputs=encoder.num_inputs, num_outputs=request.num_outputs, seed=request.seed
        )
