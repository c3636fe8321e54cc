"""A data set that is encoded in memory, where a project's is read from its cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from relabel.features.encoding import Encoder, read_example
from relabel.features.records import Content


class EncodedDataset(Dataset[tuple[Tensor, Tensor]]):
    """Inputs ``(N, ...)`` and class indices ``(N,)``, by position."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.inputs = inputs
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.labels[index]

    def read_batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and labels of several positions, shapes ``(B, ...)`` and ``(B,)``."""
        return self.inputs[indices], self.labels[indices]


def encode_examples(
    encoder: Encoder, contents: Sequence[Content], labels: Sequence[int] | Any
) -> EncodedDataset:
    """Encode image bytes, texts or rows, with the class index of each."""
    stored = [read_example(encoder, content, place) for place, content in enumerate(contents)]
    inputs = encoder.to_inputs(torch.from_numpy(np.stack(stored)))
    return EncodedDataset(inputs, torch.as_tensor(labels, dtype=torch.int64))
