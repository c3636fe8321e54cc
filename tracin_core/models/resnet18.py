"""torchvision's resnet18, for small images too, and with weights from a local file."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import torch
from torch import nn

from tracin_core.errors import ConfigurationError
from tracin_core.models.image_configs import ResNet18Config


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
    """Put the weights of the configured file into a network, but for a last layer that differs.

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
        found = torch.load(path, map_location="cpu", weights_only=True)
        state = {str(name): value for name, value in found.items()}
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, AttributeError) as error:
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
