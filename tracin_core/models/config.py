"""What a built-in network is made from; saved as JSON with every run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from tracin_core.errors import ConfigurationError
from tracin_core.examples.encoding import Encoder
from tracin_core.examples.image_encoder import ImageEncoder
from tracin_core.models.own import OwnModelConfig


@dataclass(frozen=True, kw_only=True)
class SmallCNNConfig:
    """Two convolutions, a hidden layer and the logits, for small images.

    Attributes:
        height: Pixels of the input, at least 4 (it is halved twice).
        width: The same.
        channels: Input channels.
        num_classes: Logits ``K``.
        filters: Output channels of the two convolutions.
        hidden: Width of the hidden layer.
        seed: Chooses the initial weights.
    """

    name: ClassVar[str] = "small_cnn"

    height: int
    width: int
    channels: int
    num_classes: int
    filters: tuple[int, int] = (16, 32)
    hidden: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self, {"height": 4, "width": 4, "channels": 1, "num_classes": 2, "hidden": 1})
        if len(self.filters) != 2 or min(self.filters) < 1:
            raise ConfigurationError(
                f"Found filters {self.filters}, expected two positive numbers. "
                "Pass the output channels of both convolutions, for example (16, 32)."
            )

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self), "filters": list(self.filters)}


@dataclass(frozen=True, kw_only=True)
class WordEmbeddingConfig:
    """The mean of word embeddings, a hidden layer and the logits.

    The "Simple Word-Embedding model" of the TracIn FAQ's text example.

    Attributes:
        num_ids: Different word ids, with padding (0) and unknown (1).
        num_classes: Logits ``K``.
        embedding: Numbers per word.
        hidden: Width of the hidden layer.
        seed: Chooses the initial weights.
    """

    name: ClassVar[str] = "word_embedding"

    num_ids: int
    num_classes: int
    embedding: int = 128
    hidden: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self, {"num_ids": 2, "num_classes": 2, "embedding": 1, "hidden": 1})

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self)}


ModelConfig = SmallCNNConfig | WordEmbeddingConfig | OwnModelConfig
_KNOWN: dict[str, type[ModelConfig]] = {
    SmallCNNConfig.name: SmallCNNConfig,
    WordEmbeddingConfig.name: WordEmbeddingConfig,
    OwnModelConfig.name: OwnModelConfig,
}


def model_config_from_json(data: dict[str, Any]) -> ModelConfig:
    """Make the configuration that ``to_json`` described.

    Raises:
        ConfigurationError: If this version knows no such network, or not with these settings.
    """
    kind = _KNOWN.get(str(data.get("name")))
    if kind is None:
        raise ConfigurationError(
            f"Found a network called {data.get('name')!r}, expected one of "
            f"{', '.join(_KNOWN)}. Train the project again with one of these."
        )
    settings = {name: value for name, value in data.items() if name != "name"}
    known = {entry.name for entry in fields(kind)}
    if not set(settings) <= known:
        raise ConfigurationError(
            f"The saved {kind.name} has settings that this version does not know: "
            f"{', '.join(sorted(set(settings) - known))}. Update the program, or train again."
        )
    for name in {"filters", "classes"} & set(settings):
        settings[name] = tuple(settings[name])
    try:
        return kind(**settings)
    except TypeError as error:
        raise ConfigurationError(
            f"The saved {kind.name} cannot be read ({error}). Train the project again."
        ) from error


def suggest_model(encoder: Encoder, num_classes: int, *, seed: int = 0) -> ModelConfig:
    """Return the built-in network that fits an encoder.

    Args:
        encoder: What makes the network's input.
        num_classes: Logits ``K``.
        seed: Chooses the initial weights.
    """
    if isinstance(encoder, ImageEncoder):
        return SmallCNNConfig(
            height=encoder.height,
            width=encoder.width,
            channels=encoder.channels,
            num_classes=num_classes,
            seed=seed,
        )
    return WordEmbeddingConfig(num_ids=encoder.num_ids, num_classes=num_classes, seed=seed)


def _require(config: Any, smallest: dict[str, int]) -> None:
    for name, least in smallest.items():
        value = getattr(config, name)
        if value < least:
            raise ConfigurationError(
                f"Found {name} = {value} for the {config.name} network, expected at least "
                f"{least}. Correct it in the model's settings."
            )
