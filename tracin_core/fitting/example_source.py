"""Examples that are read a batch at a time, from memory or from wherever they are.

Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tracin_core.runs.digests import Digests
from tracin_core.terms import Split


class ExampleSource(Protocol):
    """N examples that are read a batch at a time, from memory or from wherever they are."""

    def __len__(self) -> int: ...

    def read_batch(self, indices: Tensor) -> tuple[Any, Tensor]:
        """Return inputs (tensors with B rows, or a tuple or dict of them) and targets ``(B,)``."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitSource:
    """One split and what is known about its examples.

    Attributes:
        split: "train" or "test".
        examples: Inputs and labels by position.
        digests: Of each example's target and content, shape ``(N, 16)``.
    """

    split: Split
    examples: ExampleSource
    digests: Digests


def read_in_batches(
    examples: ExampleSource, positions: npt.NDArray[np.intp], batch_size: int
) -> DataLoader[Any]:
    """Return what reads some positions of a source in whole batches, in order."""
    rows = _Rows(examples, positions)
    return DataLoader(rows, batch_size=batch_size, collate_fn=_as_it_is)


class _Rows(Dataset[tuple[Any, Tensor]]):
    """Some positions of a source as a data set of their own, read in whole batches."""

    def __init__(self, examples: ExampleSource, positions: npt.NDArray[np.intp]) -> None:
        self._examples = examples
        self._positions = torch.from_numpy(positions)
        self._targets: list[Tensor] = []

    @property
    def targets(self) -> Tensor:
        """Return the targets of all positions, which have been read in order."""
        # The first batch is read twice, to see what it holds.
        return torch.cat(self._targets)[-len(self._positions) :]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Any, Tensor]:
        inputs, targets = self._examples.read_batch(self._positions[torch.as_tensor(indices)])
        self._targets.append(targets)
        return inputs, targets


def _as_it_is(batch: Any) -> Any:
    """Return what ``__getitems__`` read: a batch already, not a list to collate."""
    return batch
