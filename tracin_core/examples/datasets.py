"""Encoded examples as a data set that torch reads. Imports torch, unlike its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tracin_core.errors import InputError
from tracin_core.examples.encoding import Encoder


class EncodedDataset(Dataset[tuple[Tensor, Tensor]]):
    """Inputs and labels in memory, by position.

    Attributes:
        inputs: Encoded examples, shape ``(N, ...)``.
        labels: Class indices, int64, shape ``(N,)``.
    """

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        if len(inputs) != len(labels):
            raise ValueError(f"{len(inputs)} inputs but {len(labels)} labels")
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
    encoder: Encoder, contents: Sequence[bytes | str], labels: Sequence[int] | Any
) -> EncodedDataset:
    """Encode a split.

    Args:
        encoder: As fitted on the train split.
        contents: Image bytes or texts, by position.
        labels: Class indices, shape ``(N,)``.

    Raises:
        InputError: If an example cannot be read; the message says at which position.
    """
    encoded = []
    for position, content in enumerate(contents):
        try:
            encoded.append(encoder.encode(content))  # type: ignore[arg-type]
        except InputError as error:
            raise InputError(f"Example at position {position}: {error}") from error
    if not encoded:
        raise InputError("Found no examples to encode, expected at least one. Add examples first.")
    return EncodedDataset(torch.stack(encoded), torch.as_tensor(labels, dtype=torch.int64))
