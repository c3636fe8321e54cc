"""A data set and a network that train in milliseconds."""

from __future__ import annotations

import torch
from torch import nn

from relabel.training.config import TrainingConfig
from tests.relabel.features.in_memory import EncodedDataset

CONFIG = TrainingConfig(
    epochs=6,
    batch_size=8,
    learning_rate=0.1,
    momentum=0.9,
    schedule="cosine",
    num_checkpoints=3,
    device="cpu",
    num_threads=1,
)


def make_data(size: int = 60, seed: int = 0) -> EncodedDataset:
    """Return points of three classes around three centres."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(size) % 3
    centres = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    return EncodedDataset(centres[labels] + torch.randn(size, 2, generator=generator), labels)


def make_model() -> nn.Module:
    """Return a network with dropout, whose random numbers a resumed training must repeat."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
