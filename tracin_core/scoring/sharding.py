"""Score a split shard by shard, so that memory does not grow with the number of examples.

Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracin_core.errors import GradientError
from tracin_core.fitting.example_source import SplitSource, read_in_batches
from tracin_core.influence.attributor import Attributor, CaptureAttributor
from tracin_core.influence.signals import Capture
from tracin_core.influence.tracin import TracIn
from tracin_core.runs import ProjectionEntry, TargetScale
from tracin_core.runs.shards import Shard, UnfinishedRun
from tracin_core.scoring.making import as_projection
from tracin_core.scoring.reuse import ReusableRun
from tracin_core.scoring.shard_rows import as_shard, as_value_shard
from tracin_core.terms import Layers, Split
from tracin_core.work.progress import OnProgress, Progress, ignore_progress

# A multiple of every usual batch size, so that batches are cut as without shards. With the
# widest last-layer vectors (8,192 numbers) a shard takes 134 MB.
SHARD_EXAMPLES = 4096


@dataclass(frozen=True, kw_only=True)
class ShardScorer:
    """Computes what a run stores about examples.

    Attributes:
        tracin: The engine with the network and its checkpoints.
        attributor: The method whose scores are stored beside what the capture pass measures.
        projection: Of the vectors of each layers that are scored; None where they are exact.
        scale: How targets were standardised, for regression.
        shard_examples: Examples that are in memory at a time.
        on_progress: Told about every batch.
    """

    tracin: TracIn
    attributor: Attributor
    projection: Mapping[Layers, ProjectionEntry | None]
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
                projection=as_projection(self.projection.get("all")),
                last_layer_vectors=as_projection(self.projection["last"]) or "exact",
                on_progress=lambda done, _: self.on_progress(Progress(stage, before + done, total)),
            )
        except GradientError as error:
            if before == 0:
                raise
            raise GradientError(
                f"Counting from the {source.split} example {positions[0]}: {error}"
            ) from error
        scores = self._find_scores(capture, loader, source.split)
        if self.scale is None:
            return as_shard(capture, scores)
        targets = loader.dataset.targets  # type: ignore[attr-defined]
        return as_value_shard(capture, scores, targets, self.scale)

    def _find_scores(self, capture: Capture, loader: Any, split: Split) -> Mapping[str, Tensor]:
        """Return the method's scores, from the pass that has been made where they are in it.

        Raises:
            GradientError: If one is not finite or of another shape.
        """
        if isinstance(self.attributor, CaptureAttributor):
            return self.attributor.read_capture(capture)
        # Test examples have no scores by a method that defines them for train examples.
        scores = self.attributor.scores(loader) if split == "train" else {}
        num_examples = capture.losses.shape[1]
        for name, values in scores.items():
            if values.shape != (num_examples,) or not bool(values.isfinite().all()):
                raise GradientError(
                    f"The attribution method gave the scores {name!r} with the shape "
                    f"{tuple(values.shape)}; expected {num_examples} finite numbers. Mend the "
                    "method, or choose another one."
                )
        return scores
