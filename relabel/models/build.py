"""Build the built-in networks from their configurations. Imports torch.

For images a small convolutional network and torchvision's resnet18 (which takes small images too,
and weights from a local file), for texts word embeddings, as in the paper's FAQ, and a small
transformer encoder, for rows of a table a network of linear layers.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

from relabel.features.text import PADDING
from relabel.models.builtin import ModelConfig
from relabel.models.networks.heads import LinearHeadConfig, MLPHeadConfig
from relabel.models.networks.image import ResNet18Config, SmallCNNConfig
from relabel.models.networks.table import MLPConfig
from relabel.models.networks.text import (
    NgramLinearConfig,
    SmallTransformerConfig,
    WordEmbeddingConfig,
)
from relabel.models.registry import find_network
from relabel.models.user.config import OwnModelConfig
from relabel.models.user.load import load_own_model
from tracin_core.checkpoints.formats import read_torch
from tracin_core.errors import CheckpointError, ConfigurationError


def build_model(config: ModelConfig, *, run_my_code: bool = False) -> nn.Module:
    """Return the network with its initial weights, on the CPU and in training mode.

    The same configuration gives the same weights; torch's global random state is left as it was.

    Args:
        config: A built-in network's, or that of a person's own.
        run_my_code: Whether the person has agreed to run the file that their own comes from.

    Raises:
        ConfigurationError: If they have not, their file does not give a network, or no network
            of this name is registered.
    """
    if isinstance(config, OwnModelConfig):
        return load_own_model(config, run_my_code=run_my_code).model
    network = find_network(config.name)
    if network is None:
        raise ConfigurationError(
            f"Found a configuration of a network called {config.name!r}, which is not registered. "
            "Register its class with register_network."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return network.make(config)


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


def make_resnet18(config: ResNet18Config) -> nn.Module:
    """Return a network from ``(B, channels, height, width)`` to outputs ``(B, K)``.

    Weights to begin with are not read here, because the checkpoints of a training hold all of
    them: ``load_initial_weights`` does, before a training.
    """
    from torchvision.models import resnet18

    model: nn.Module = resnet18(weights=None, num_classes=config.num_outputs)
    if config.has_small_stem:
        model.conv1 = nn.Conv2d(config.channels, 64, kernel_size=3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    elif config.channels != 3:
        model.conv1 = nn.Conv2d(config.channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return model


def load_initial_weights(model: nn.Module, config: ResNet18Config) -> None:
    """Load the weights of the configured file into a network, but for a last layer that differs.

    Raises:
        ConfigurationError: If the file is missing, damaged, has changed, would have to be
            unpickled, or is of another network.
    """
    if config.weights is None:
        return
    path = Path(config.weights)
    if hash_weights(path) != config.weights_sha256:
        raise ConfigurationError(
            f"The weights in {path} have changed since they were chosen. Start the training "
            "again to use them as they are now."
        )
    try:
        found = read_torch(path, may_map=False)
        state = {str(name): value for name, value in found.items()}
    except (CheckpointError, AttributeError) as error:
        raise ConfigurationError(
            f"The weights in {path} cannot be read safely ({str(error).splitlines()[0][:200]}); "
            "expected a state dict saved by torch.save. Save model.state_dict() again."
        ) from error
    own = model.state_dict()
    for name in ("fc.weight", "fc.bias"):
        if name in state and state[name].shape != own[name].shape:
            state[name] = own[name]
    try:
        model.load_state_dict({"fc.weight": own["fc.weight"], "fc.bias": own["fc.bias"]} | state)
    except RuntimeError as error:
        raise ConfigurationError(
            f"The weights in {path} are not those of a resnet18 "
            f"({str(error).splitlines()[-1].strip()[:200]}). Give a file that fits, as "
            "torchvision publishes them, or begin from scratch."
        ) from error


def hash_weights(path: Path) -> str:
    """Return the SHA-256 of a file with weights.

    Raises:
        ConfigurationError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(
            f"The weights {path} cannot be read ({error.strerror}); expected a local file. "
            "Correct the path: nothing is downloaded."
        ) from error


def make_small_cnn(config: SmallCNNConfig) -> nn.Module:
    """Return a network from ``(B, channels, height, width)`` to logits ``(B, K)``.

    No dropout and no batch normalisation: the gradient of one example must not depend on chance
    or on its neighbours in the batch.
    """
    first, second = config.filters
    pixels = (config.height // 4) * (config.width // 4)
    layers: list[tuple[str, nn.Module]] = []
    if config.shift:
        layers.append(("moves", RandomMoves(config.shift)))
    layers += [
        ("conv1", nn.Conv2d(config.channels, first, kernel_size=3, padding=1)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(first, second, kernel_size=3, padding=1)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("hidden", nn.Linear(second * pixels, config.hidden)),
        ("relu3", nn.ReLU()),
        ("logits", nn.Linear(config.hidden, config.num_outputs)),
    ]
    return nn.Sequential(OrderedDict(layers))


class RandomMoves(nn.Module):
    """Moves and mirrors images at random in training mode, and none in evaluation mode.

    Args:
        shift: Share of the side by which an image is moved at most, each way.
    """

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, images: Tensor) -> Tensor:
        """Return images of the same shape, ``(B, channels, height, width)``."""
        if not self.training:
            return images
        size, (height, width) = len(images), images.shape[2:]
        rows = self._draw(size, height, images.device)
        columns = self._draw(size, width, images.device)
        is_mirrored = torch.rand(size, 1, device=images.device) < 0.5
        columns = torch.where(is_mirrored, columns.flip(1), columns)
        moved = images.gather(2, rows[:, None, :, None].expand_as(images))
        return moved.gather(3, columns[:, None, None, :].expand_as(images))

    def _draw(self, size: int, side: int, device: torch.device) -> Tensor:
        """Return the pixels that come to each place along a side, ``(B, side)``."""
        most = min(round(self.shift * side), side - 1)
        offsets = torch.randint(-most, most + 1, (size, 1), device=device)
        places = (torch.arange(side, device=device) + offsets).abs()
        # Reflected at the last pixel, as `abs` does at the first.
        return (side - 1) - (side - 1 - places).abs()


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


class NgramLinear(nn.Module):
    """From term ids and weights, both ``(B, L)``, to outputs ``(B, K)``: linear, all from zero.

    The constant part is the row of one more term, which every text has with the weight 1. So all
    is one table, and with ``x`` a text's weights and ``delta`` the loss's gradient at its outputs
    the influence of two texts is ``(delta . delta') (x . x' + 1)``.
    """

    def __init__(self, config: NgramLinearConfig) -> None:
        super().__init__()
        self.terms = nn.EmbeddingBag(config.num_terms + 1, config.num_outputs, mode="sum")
        nn.init.zeros_(self.terms.weight)

    def forward(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Return the outputs for some texts."""
        constant = ids.new_full((len(ids), 1), self.terms.num_embeddings - 1)
        ids = torch.cat([ids, constant], dim=1)
        weights = torch.cat([weights, weights.new_ones(len(weights), 1)], dim=1)
        outputs: Tensor = self.terms(ids, per_sample_weights=weights)
        return outputs


def make_linear_head(config: LinearHeadConfig) -> nn.Module:
    """Return a network from features ``(B, D)`` to outputs ``(B, K)``."""
    return nn.Sequential(
        OrderedDict([("logits", nn.Linear(config.num_inputs, config.num_outputs))])
    )


def make_mlp_head(config: MLPHeadConfig) -> nn.Module:
    """Return a network from features ``(B, D)`` to outputs ``(B, K)``."""
    layers: list[tuple[str, nn.Module]] = [
        ("hidden", nn.Linear(config.num_inputs, config.hidden)),
        ("relu", nn.ReLU()),
        ("logits", nn.Linear(config.hidden, config.num_outputs)),
    ]
    return nn.Sequential(OrderedDict(layers))


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
