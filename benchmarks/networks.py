"""The networks and examples that the engine is measured on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tracin_core import Checkpoint

CLASSES, WORDS, TOKENS = 10, 2000, 32
LEARNING_RATE = 0.02


@dataclass(frozen=True)
class Subject:
    """A network, how many examples it is measured on, and their shape.

    Attributes:
        build: Returns the network with new weights.
        examples: Examples to time.
        checked: Examples compared with the oracle.
        shape: Shape of an image; empty for texts.
        batch_size: Examples in a pass.
        captum_batch: The same for captum's default mode: of 1 to 256, its fastest here.
    """

    build: Callable[[], nn.Module]
    examples: int
    checked: int
    shape: tuple[int, ...]
    batch_size: int = 256
    captum_batch: int = 8


def build_cnn() -> nn.Module:
    """About 97 thousand parameters, 28 x 28 input."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(576, 126), nn.ReLU(), nn.Linear(126, CLASSES)),
    )


def build_mlp() -> nn.Module:
    """About 109 thousand parameters, 28 x 28 input."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 128), nn.ReLU()),
        *(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, CLASSES)),
    )


def build_resnet() -> nn.Module:
    """Torchvision's resnet18 with ten classes."""
    network: nn.Module = torchvision.models.resnet18(num_classes=CLASSES)
    return network


def build_large_resnet() -> nn.Module:
    """Torchvision's resnet50 with ten classes, for 224 x 224 input."""
    network: nn.Module = torchvision.models.resnet50(num_classes=CLASSES)
    return network


def build_vision_transformer() -> nn.Module:
    """Torchvision's VisionTransformer, 64 patches of 32 x 32 pixels, four layers of 64."""
    return torchvision.models.VisionTransformer(
        image_size=32,
        patch_size=4,
        num_layers=4,
        num_heads=4,
        hidden_dim=64,
        mlp_dim=128,
        num_classes=CLASSES,
    )


class TextTransformer(nn.Module):
    """Words, two encoder layers, the mean over positions, the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.logits = nn.Linear(64, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        """Word ids ``(B, T)`` to logits ``(B, K)``."""
        logits: Tensor = self.logits(self.encoder(self.words(ids)).mean(1))
        return logits


SMALL = {
    "CNN": Subject(build_cnn, 1000, 256, (1, 28, 28), captum_batch=1),
    "MLP": Subject(build_mlp, 2000, 256, (1, 28, 28), captum_batch=8),
}
LARGE = {
    "resnet18": Subject(build_resnet, 128, 24, (3, 32, 32), 64),
    "VisionTransformer": Subject(build_vision_transformer, 256, 48, (3, 32, 32), 64),
    "TransformerEncoder": Subject(TextTransformer, 512, 64, (), 128),
}
# What only a GPU does in reasonable time.
HUGE = {"resnet50": Subject(build_large_resnet, 64, 12, (3, 224, 224), 64)}


def make_examples(subject: Subject) -> TensorDataset:
    """Noisy class prototypes, or texts with words of their class; one label in ten wrong."""
    count = subject.examples
    labels = torch.randint(CLASSES, (count,))
    if subject.shape:
        prototypes = torch.randn(CLASSES, *subject.shape)
        inputs = prototypes[labels] * 0.3 + torch.randn(count, *subject.shape)
    else:
        common = torch.randint(WORDS, (count, TOKENS))
        own = labels.unsqueeze(1) * 20 + torch.randint(20, (count, TOKENS))
        inputs = torch.where(torch.rand(count, TOKENS) < 0.2, own, common)
    wrong = torch.rand(count) < 0.1
    return TensorDataset(inputs, torch.where(wrong, torch.randint(CLASSES, (count,)), labels))


def move(examples: TensorDataset, device: torch.device) -> TensorDataset:
    """Return the examples on a device."""
    return TensorDataset(*(tensor.to(device) for tensor in examples.tensors))


def cut(examples: TensorDataset, batch_size: int) -> list[tuple[Tensor, ...]]:
    """Return the examples in batches."""
    return list(zip(*(t.split(batch_size) for t in examples.tensors), strict=True))


def train(model: nn.Module, examples: TensorDataset, batch_size: int) -> list[Checkpoint]:
    """Train for three epochs and keep a checkpoint after each; leaves the model evaluating."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)
    checkpoints = []
    model.train()
    for _ in range(3):
        for inputs, targets in cut(examples, batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        weights = copy.deepcopy(model.state_dict())
        checkpoints.append(Checkpoint(weights, learning_rate=LEARNING_RATE))
    model.eval()
    return checkpoints
