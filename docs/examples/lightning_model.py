"""The Lightning module, and the way from a row of the table to its input."""

import pytorch_lightning as L
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tracin_core import OwnModel

CLASSES = ["grower 1", "grower 2", "grower 3"]
NOT_INPUT = ("split", "grower")


def to_input(row):
    """From a row, a dictionary by column, to a tensor."""
    return torch.tensor([float(value) for name, value in row.items() if name not in NOT_INPUT])


class WineNet(L.LightningModule):
    def __init__(self, num_features=13):
        super().__init__()
        # Buffers are saved with the weights, so what the inputs are scaled by is in there too.
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("std", torch.ones(num_features))
        self.net = nn.Sequential(nn.Linear(num_features, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, rows):
        return self.net((rows - self.mean) / self.std)

    def training_step(self, batch, batch_index):
        rows, labels = batch
        return cross_entropy(self(rows), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def build():
    return OwnModel(WineNet(), transform=to_input, classes=CLASSES)
