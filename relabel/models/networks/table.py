"""What the built-in network for tables is made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from relabel.features.table import TableEncoder
from relabel.models.registry import (
    NetworkRequest,
    TrainingSuggestion,
    register_network,
    require_at_least,
)
from tracin_core.errors import ConfigurationError


@register_network(
    title="Multilayer perceptron",
    description="For the rows of a table: numbers are standardised, categories become switches.",
    kinds=("table",),
    build="relabel.models.build:make_mlp",
    training=TrainingSuggestion(epochs=20, learning_rate=0.02),
    is_suggested=True,
)
@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """Hidden layers and the outputs, for the rows of a table.

    Attributes:
        num_inputs: Numbers that the encoder makes of a row.
        num_outputs: Logits ``K``, or 1 for regression.
        hidden: Widths of the hidden layers.
        seed: Chooses the initial weights.
    """

    name: ClassVar[str] = "mlp"

    num_inputs: int
    num_outputs: int
    hidden: tuple[int, ...] = (128, 64)
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(self, {"num_inputs": 1, "num_outputs": 1})
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigurationError(
                f"Found hidden layers {self.hidden}, expected one or more positive widths. "
                "Pass them in order, for example (128, 64)."
            )

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def for_encoder(cls, encoder: TableEncoder, request: NetworkRequest) -> MLPConfig:
        """Return the configuration for rows as an encoder makes them."""
        return cls(
            num_inputs=encoder.num_inputs, num_outputs=request.num_outputs, seed=request.seed
        )
