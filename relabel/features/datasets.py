"""Encoded examples as data sets that torch reads, in memory or from a cache. Imports torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from relabel.features.encoding import Encoder, StoredRows
from relabel.features.joined import JoinedRows
from tracin_core.gradients.nested import map_tensors


class StoredDataset(Dataset[tuple[Any, Tensor]]):
    """Inputs in a memory-mapped cache, made into tensors batch by batch.

    Attributes:
        targets: Class indices, int64, or numbers, float32; shape ``(N,)``.
        digest: Stands for inputs and targets, so that nobody needs to read them all for it.
    """

    def __init__(
        self,
        stored: StoredRows | JoinedRows,
        targets: Tensor,
        encoder: Encoder,
        *,
        digest: str,
        chosen: npt.NDArray[np.intp] | None = None,
    ) -> None:
        """Wrap what ``open_cache`` opened.

        Args:
            stored: As the encoder reads examples, shape ``(M, ...)``.
            targets: Of every stored example, shape ``(M,)``.
            encoder: What makes tensors of them.
            digest: Of inputs and targets.
            chosen: Positions that are in the data set; None for all.
        """
        self._stored = stored
        self._encoder = encoder
        self._chosen = None if chosen is None else torch.from_numpy(chosen)
        self.targets = targets if self._chosen is None else targets[self._chosen]
        self.digest = digest

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        inputs, targets = self.read_batch(torch.tensor([index]))
        return map_tensors(lambda tensor: tensor[0], inputs), targets[0]

    def read_batch(self, indices: Tensor) -> tuple[Any, Tensor]:
        """Return the inputs and targets of several positions, shapes ``(B, ...)`` and ``(B,)``."""
        rows = indices if self._chosen is None else self._chosen[indices]
        stored = torch.from_numpy(self._stored[rows.numpy()])
        return self._encoder.to_inputs(stored), self.targets[indices]
