"""Score a split shard by shard, so that memory does not grow with the number of examples.

Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tracin_core.errors import GradientError
from tracin_core.gradients.projection import Projection
from tracin_core.influence.signals import Capture
from tracin_core.influence.tracin import TracIn
from tracin_core.jobs.progress import OnProgress, Progress, ignore_progress
from tracin_core.jobs.reuse import ReusableRun
from tracin_core.runs import TargetScale
from tracin_core.runs.digests import Digests
from tracin_core.runs.probabilities import pack_probabilities
from tracin_core.runs.shards import Shard, UnfinishedRun
from tracin_core.runs.signals import Signals
from tracin_core.terms import Split

# A multiple of every usual batch size, so that batches are cut as without shards. With the
# widest last-layer vectors (8,192 numbers) a shard takes 134 MB.
SHARD_EXAMPLES = 4096


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


@dataclass(frozen=True, kw_only=True)
class ShardScorer:
    """Computes what a run stores about examples.

    Attributes:
        tracin: The engine with the network and its checkpoints.
        projection: Of the "all" vectors, and of "last" ones that are too wide.
        scale: How targets were standardised, for regression.
        shard_examples: Examples that are in memory at a time.
        on_progress: Told about every batch.
    """

    tracin: TracIn
    projection: Projection
    scale: TargetScale | None = None
    shard_examples: int = SHARD_EXAMPLES
    on_progress: OnProgress = ignore_progress

    def score(
        self, run: UnfinishedRun, source: SplitSource, base: ReusableRun | None = None
    ) -> None:
        """Write the shards of a split that are not finished yet, and join its signals.

        Args:
            run: Where they are written.
            source: The examples.
            base: A run whose rows are taken for examples that are the same there.

        Raises:
            GradientError: If a gradient is not finite or a layer is not covered.
            OSError: If the disk is full; what is finished is kept.
        """
        total = len(source.examples)
        finished = {shard.start for shard in run.journal.of_split(source.split)}
        # An empty split has one shard without examples, so that its files are there.
        for start in range(0, max(total, 1), self.shard_examples):
            if start in finished:
                continue
            began = time.perf_counter()
            stop = min(start + self.shard_examples, total)
            shard, computed = self._make(source, start, stop, base)
            seconds = round(time.perf_counter() - began, 3)
            run.write_shard(source.split, start, total, shard, computed=computed, seconds=seconds)
        run.finish_split(source.split)

    def _make(
        self, source: SplitSource, start: int, stop: int, base: ReusableRun | None
    ) -> tuple[Shard, int]:
        """Return a shard and how many of its examples were computed."""
        everything = np.arange(start, stop)
        changed = everything
        if base is not None:
            changed = base.find_changed(source.split, start, source.digests[start:stop])
        if base is None or len(changed) == stop - start:
            return self._capture(source, everything), stop - start
        shard = base.read_shard(source.split, start, stop)
        if len(changed):
            shard = shard.replace_rows(changed - start, self._capture(source, changed))
        return shard, len(changed)

    def _capture(self, source: SplitSource, positions: npt.NDArray[np.intp]) -> Shard:
        num_checkpoints = len(self.tracin.checkpoints)
        before = int(positions[0]) * num_checkpoints if len(positions) else 0
        total = len(source.examples) * num_checkpoints
        stage = f"scoring the {source.split} examples"
        loader = read_in_batches(source.examples, positions, self.tracin.batch_size)
        try:
            capture = self.tracin.capture(
                loader,
                projection=self.projection,
                last_layer_vectors=True,
                on_progress=lambda done, _: self.on_progress(Progress(stage, before + done, total)),
            )
        except GradientError as error:
            if before == 0:
                raise
            raise GradientError(
                f"Counting from the {source.split} example {positions[0]}: {error}"
            ) from error
        if self.scale is None:
            return as_shard(capture)
        return as_value_shard(capture, loader.dataset.targets, self.scale)  # type: ignore[attr-defined]


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


def as_shard(capture: Capture) -> Shard:
    """Return what a capture pass measured in the types that are stored."""
    signals = Signals(
        self_influence_all=_as_array(capture.squared_norms_all),
        self_influence_last=_as_array(capture.squared_norms_last),
        loss=_as_array(capture.losses),
        margin=_as_array(capture.margins),
        predicted=_as_labels(capture),
        given_probability=_as_array(capture.given_probability),
    )
    return Shard(
        signals=signals,
        probabilities=pack_probabilities(_as_array(capture.probabilities)),
        vectors={"all": _as_array(capture.vectors), "last": _as_array(capture.last_vectors)},
    )


def as_value_shard(capture: Capture, targets: Tensor, scale: TargetScale) -> Shard:
    """Return what a capture pass of a regression measured, numbers in the target's own unit.

    Args:
        capture: Of B examples at C checkpoints, for standardised targets.
        targets: Standardised, shape ``(B,)``.
        scale: How they were standardised.
    """
    predicted = capture.predicted.to(torch.float64)
    shape = tuple(capture.losses.shape)
    missing = np.full(shape, np.nan, dtype=np.float32)
    signals = Signals(
        self_influence_all=_as_array(capture.squared_norms_all),
        self_influence_last=_as_array(capture.squared_norms_last),
        loss=_as_array(capture.losses),
        margin=missing,
        predicted=np.zeros(shape, dtype=np.int16),
        given_probability=missing,
        predicted_value=_as_array(predicted * scale.std + scale.mean),
        residual=_as_array((targets.to(torch.float64) - predicted) * scale.std),
    )
    return Shard(
        signals=signals,
        probabilities=np.zeros((shape[1], 0), dtype=np.float32),
        vectors={"all": _as_array(capture.vectors), "last": _as_array(capture.last_vectors)},
    )


def _as_labels(capture: Capture) -> npt.NDArray[np.integer]:
    few = capture.probabilities.shape[1] <= np.iinfo(np.int16).max
    predicted = capture.predicted.detach().cpu().numpy()
    return predicted.astype(np.int16 if few else np.int32)


def _as_array(tensor: Tensor | None) -> npt.NDArray[np.float32]:
    if tensor is None:
        raise ValueError("the capture pass was not asked for these vectors")
    return tensor.detach().to("cpu", torch.float32).numpy()
