"""Score a split shard by shard, so that memory does not grow with the number of examples.

An engine does the shards, here or in other processes; this process alone writes them into the run
and into its journal. Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from relabel.fitting.data import ExampleSource, SplitSource
from relabel.fitting.network import TrainedNetwork
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.runs.config import ProjectionEntry, TargetScale
from relabel.runs.shards import Shard, UnfinishedRun
from relabel.scoring.engine import HERE, EngineChoice
from relabel.scoring.reuse import ReusableRun
from relabel.scoring.shard_work import COMPUTED, ShardWork
from relabel.text import Layers, Split, counted
from tracin_core.attribution import Attributor
from tracin_core.scale import DEFAULT_ENGINE, EngineReport, ShardResult, map_shards
from tracin_core.tracin import TracIn

# A multiple of every usual batch size, so that batches are cut as without shards. With the
# widest last-layer vectors (8,192 numbers) a shard takes 134 MB.
SHARD_EXAMPLES = 4096


@dataclass(frozen=True, kw_only=True)
class ShardScorer:
    """Computes what a run stores about examples.

    Attributes:
        tracin: The engine with the network and its checkpoints.
        attributor: The method whose scores are stored beside what the capture pass measures.
        score_names: What the method registered.
        projection: Of the vectors of each layers that are scored; None where they are exact.
        scale: How targets were standardised, for regression.
        network: What ``tracin`` was made of; None where that can be pickled as it is.
        train: Train examples, on the first of which workers decide how gradients are computed;
            None for those that are scored.
        shard_examples: Examples that are in memory at a time.
        engine: What does the shards.
        threads: On which each of its workers computes; None divides the cores.
        on_progress: Told about every batch, or about every shard of other processes.
    """

    tracin: TracIn
    attributor: Attributor
    score_names: Collection[str]
    projection: Mapping[Layers, ProjectionEntry | None]
    scale: TargetScale | None = None
    network: TrainedNetwork | None = None
    train: ExampleSource | None = None
    shard_examples: int = SHARD_EXAMPLES
    engine: EngineChoice = HERE
    threads: int | None = None
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
            ConfigurationError: If the engine cannot begin.
            ShardLostError: If a shard was lost with its worker too often.
            OSError: If the disk is full; what is finished is kept.
        """
        total = len(source.examples)
        # Closed at once where a write or a cancellation raises, so that the workers stop.
        with closing(self._compute(run, source, base)) as results:
            for span, done in results:
                arrays = dict(done.result)
                computed, seconds = int(arrays.pop(COMPUTED)), round(done.seconds, 3)
                shard = Shard.from_arrays(arrays)
                run.write_shard(
                    source.split, span.start, total, shard, computed=computed, seconds=seconds
                )
        run.finish_split(source.split)

    def assist(self, run: UnfinishedRun, source: SplitSource, base: ReusableRun | None) -> None:
        """Do a rank's own shards of a run that another rank writes, and put them beside it.

        Args:
            run: As it was when this rank looked.
            source: The examples.
            base: As for ``score``.
        """
        for _ in self._compute(run, source, base):
            raise RuntimeError("a rank that assists was given results to write")

    def _compute(
        self, run: UnfinishedRun, source: SplitSource, base: ReusableRun | None
    ) -> Generator[tuple[range, ShardResult[dict[str, npt.NDArray[Any]]]], None, None]:
        """Yield the shards that are not in the journal, in any order, with their positions."""
        total = len(source.examples)
        # An empty split has one shard without examples, so that its files are there.
        starts = range(0, max(total, 1), self.shard_examples)
        spans = [range(start, min(start + self.shard_examples, total)) for start in starts]
        known = {shard.start for shard in run.journal.of_split(source.split)}
        results = map_shards(
            self._make_work(source, base),
            spans,
            self.engine.name,
            finished=[index for index, span in enumerate(spans) if span.start in known],
            workers=self.engine.workers,
            address=self.engine.address,
            threads=self.threads,
            gpus=self.tracin.device.type == "cuda",
            folder=run.parts_folder(source.split),
            on_report=_Report(self, source.split, total),
        )
        with closing(results):
            for done in results:
                yield spans[done.index], done

    def _make_work(self, source: SplitSource, base: ReusableRun | None) -> ShardWork:
        return ShardWork(
            tracin=self.tracin,
            attributor=self.attributor,
            score_names=tuple(self.score_names),
            projection=dict(self.projection),
            scale=self.scale,
            source=source,
            train=source.examples if self.train is None else self.train,
            base=base,
            own_file=None if self.network is None else self.network.own_file,
            network=self.network,
            on_progress=self.on_progress if self.engine.name == DEFAULT_ENGINE else ignore_progress,
        )


class _Report:
    """Tells how far other processes are; of this one, batches do."""

    def __init__(self, scorer: ShardScorer, split: Split, total: int) -> None:
        self._scorer, self._split, self._total = scorer, split, total
        self._begun: tuple[float, int] | None = None  # when, and after how many examples

    def __call__(self, report: EngineReport) -> None:
        if self._scorer.engine.name == DEFAULT_ENGINE:
            return
        now, done = time.monotonic(), min(report.done * self._scorer.shard_examples, self._total)
        self._begun = self._begun or (now, done)
        begun_at, before = self._begun
        said = [f"{report.done:,} of {report.total:,} shards", counted(report.workers, "worker")]
        if done > before and now > begun_at:
            said.append(f"{(done - before) / (now - begun_at):,.0f} examples a second")
        if report.lost:
            said.append(f"{counted(report.lost, 'worker')} lost and replaced")
        rows = len(self._scorer.tracin.checkpoints)
        stage = f"scoring the {self._split} examples"
        self._scorer.on_progress(
            Progress(stage, done * rows, self._total * rows, detail=", ".join(said))
        )
