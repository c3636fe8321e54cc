"""A project's examples as the inputs of a person's own network, made batch by batch.

Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracin_core.examples.records import Content
from tracin_core.fitting.own_stored import StoredInputs
from tracin_core.models.own_inputs import OwnEncoder


class ContentSource(Protocol):
    """Reads what examples are from wherever they are kept."""

    def read(self, positions: Iterable[int]) -> Iterator[Content]:
        """Yield the contents at some positions, in ascending order, each once."""
        ...


class OwnExamples:
    """One split: inputs through the person's transform, and targets as their network has them.

    Args:
        encoder: What makes the inputs.
        source: Where the contents are.
        targets: Class indices, or numbers in their own unit; shape ``(N,)``.
        digest: Stands for contents and targets.
        chosen: Positions that belong to it; None for all.
        stored: What the transform made of all positions, where that is kept.
    """

    def __init__(
        self,
        encoder: OwnEncoder,
        source: ContentSource,
        targets: npt.NDArray[Any],
        *,
        digest: str = "",
        chosen: npt.NDArray[np.intp] | None = None,
        stored: StoredInputs | None = None,
    ) -> None:
        self._stored = stored
        self._encoder = encoder
        self._source = source
        self._positions = np.arange(len(targets)) if chosen is None else chosen
        own_targets = scale_targets(encoder, targets)
        self.targets = own_targets[torch.from_numpy(self._positions)]
        self.digest = digest

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        (made,) = self._read([int(self._positions[index])])
        return made, self.targets[index]

    def read_batch(self, indices: Tensor) -> tuple[Any, Tensor]:
        """Return the inputs and targets of several positions, B rows each, in their order."""
        positions = self._positions[indices.numpy()].tolist()
        return self._encoder.join(self._read(positions), positions), self.targets[indices]

    def _read(self, positions: list[int]) -> list[Any]:
        """Return the inputs at some positions, in their order."""
        if self._stored is not None:
            return [self._stored.read(position) for position in positions]
        ascending = sorted(set(positions))
        contents = zip(ascending, self._source.read(ascending), strict=True)
        made = {at: self._encoder.encode_at(content, at) for at, content in contents}
        return [made[position] for position in positions]


def scale_targets(encoder: OwnEncoder, targets: npt.NDArray[Any]) -> Tensor:
    """Return targets as the person's training had them: class indices, or scaled numbers."""
    if encoder.config.task == "classification":
        return torch.from_numpy(np.asarray(targets, dtype=np.int64))
    numbers = np.asarray(targets, dtype=np.float64)
    return torch.from_numpy((numbers - encoder.own.target_mean) / encoder.own.target_std).float()
