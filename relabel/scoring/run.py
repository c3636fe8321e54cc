"""Score a trained network into a run on disk, shard by shard and resumable.

Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from relabel.fitting.data import SplitSource, read_in_batches
from relabel.fitting.network import TrainedNetwork, list_checkpoints
from relabel.models.user.code import explain_network_errors
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.runs.config import IndexEntry, Rates, RunConfig, hash_json, make_run_key
from relabel.runs.folder import RunFolder, write_digests
from relabel.runs.scoring_version import describe_program
from relabel.runs.shards import UnfinishedRun, remove_leftovers
from relabel.scoring.engine import HERE, EngineChoice
from relabel.scoring.reuse import ReusableRun, find_reusable
from relabel.scoring.shards import SHARD_EXAMPLES, ShardScorer
from relabel.scoring.spec import (
    NO_OPTIONS,
    RunSpec,
    find_train,
    make_attributor,
    name_layers,
    resolve_spec,
    take_first,
)
from relabel.text import SPLITS, LayerChoice, Split
from relabel.training.threads import limit_threads_for
from tracin_core.attribution import DEFAULT_METHOD, FittedAttributor, get_method
from tracin_core.errors import CheckpointError, ConfigurationError
from tracin_core.retrieval import build_index
from tracin_core.tracin import TracIn

# Seconds that the first of several ranks has to begin, and between two looks for it: it may
# encode the examples first.
PATIENCE, POLL = 3600.0, 0.5


@dataclass(frozen=True, kw_only=True)
class ScoredRun:
    """A complete run and what it took.

    Attributes:
        folder: The run's folder.
        num_computed: Examples of each split that were computed; the others were taken from an
            earlier run, or the whole run was there.
        num_checkpoints: Rows that each of them took.
    """

    folder: RunFolder
    num_computed: Mapping[Split, int]
    num_checkpoints: int

    @property
    def rows_computed(self) -> int:
        """Return the pairs of an example and a checkpoint that were computed."""
        return sum(self.num_computed.values()) * self.num_checkpoints


def score_run(
    runs_folder: Path,
    network: TrainedNetwork,
    sources: Sequence[SplitSource],
    *,
    data_hash: str,
    base: RunFolder | None = None,
    layers: LayerChoice = "both",
    rates: Rates = "ones",
    method: str = DEFAULT_METHOD,
    method_options: Mapping[str, Any] = NO_OPTIONS,
    device: str = "auto",
    shard_examples: int = SHARD_EXAMPLES,
    exact_bytes: int | None = None,
    engine: EngineChoice = HERE,
    on_progress: OnProgress = ignore_progress,
) -> ScoredRun:
    """Score every example and write the run's folder, which appears when it is complete.

    A complete folder of the same data, checkpoints, options and scoring version is used as it
    is; an unfinished one is continued after its last finished shard, with the numbers it would
    have had. One process at a time works on ``runs_folder``.

    Args:
        runs_folder: ``projects/<slug>/runs``.
        network: The trained network.
        sources: Examples of both splits.
        data_hash: Digest of the examples.
        base: An earlier run. Where it was made with the same checkpoints, options and scoring
            version, only examples whose label or content has changed since are computed.
        layers: Whose norms and vectors are computed: both sorts, or the last layer's alone, which
            takes little more than a forward pass.
        rates: Whether vectors carry the recorded learning rates or ones. Ones, because that
            is what the queue's ranking uses: both then tell the same story.
        method: Name of the attribution method, whose scores are stored beside what the capture
            pass measures.
        method_options: Its own options, by name.
        device: "auto", or a device as torch names it.
        shard_examples: Examples that are in memory at a time.
        exact_bytes: What exact last-layer vectors of all examples may take on the disk, None for
            the usual; where they would take more, they are projected.
        engine: What does the shards: this process, others of this machine, or a cluster.
        on_progress: Told about every batch.

    Raises:
        GradientError: If a gradient is not finite or a layer is not covered.
        CheckpointError: If a checkpoint cannot be loaded.
    """
    device = engine.choose_device(device)
    with limit_threads_for(network.model), explain_network_errors(network.own_file, "The network"):
        spec = resolve_spec(
            network,
            sources,
            layers=layers,
            rates=rates,
            method=method,
            method_options=method_options,
            device=device,
            exact_bytes=exact_bytes,
        )
    created_at = datetime.now(UTC)
    digest = spec.hash_with(data_hash)
    root = _find_run(runs_folder, digest) or runs_folder / make_run_key(digest, created_at)
    if _is_complete(root):
        remove_leftovers(root)
        on_progress(Progress(f"using run {root.name}, which has these scores already", 1, 1))
        none = {source.split: 0 for source in sources}
        return ScoredRun(
            folder=RunFolder(root), num_computed=none, num_checkpoints=len(spec.checkpoints)
        )
    reusable = None if base is None else find_reusable(base, spec.scoring_hash)
    threads = engine.count_threads(network.model)
    begun_as = _describe_beginning(digest, reusable, shard_examples, threads)
    run = _open_unfinished(runs_folder, digest, begun_as, network)
    work = _Scoring(run, spec, device, engine, threads, on_progress)
    with limit_threads_for(network.model), explain_network_errors(network.own_file, "The network"):
        work.score(sources, reusable, shard_examples)
    config = work.describe(
        key=root.name,
        counts={source.split: len(source.examples) for source in sources},
        data_hash=data_hash,
        created_at=created_at,
    )
    run.folder.write_config(config)
    return ScoredRun(
        folder=run.publish(root),
        num_computed={source.split: run.journal.count_computed(source.split) for source in sources},
        num_checkpoints=len(spec.checkpoints),
    )


class _Scoring:
    """One run in the making, in a folder that nobody reads yet."""

    def __init__(
        self,
        run: UnfinishedRun,
        spec: RunSpec,
        device: str,
        engine: EngineChoice,
        threads: int,
        on_progress: OnProgress,
    ) -> None:
        self._run = run
        self._spec = spec
        self._engine, self._threads = engine, threads
        self._on_progress = on_progress
        network = spec.network
        checkpoints = list_checkpoints(run.folder, spec.checkpoints)
        self._tracin = TracIn(
            network.model,
            checkpoints,
            network.loss,
            layers="all" if "all" in spec.layers else "last",
            device=device,
            rates=spec.rates,
            last_layer=spec.last_layer,
            progress=False,
        )
        self._attributor = make_attributor(
            spec.method,
            self._tracin,
            spec.rates,
            spec.projection,
            spec.method_configuration,
        )
        self._seconds: dict[str, float] = {}
        self._indexes: dict[str, IndexEntry] = {}
        self._layers: dict[str, tuple[str, ...]] = {"last": spec.last_layer}

    def score(
        self, sources: Sequence[SplitSource], base: ReusableRun | None, shard_examples: int
    ) -> None:
        """Write signals, probabilities, vectors, digests and indexes."""
        scorer, base = self._prepare(sources, base, shard_examples)
        for source in sources:
            scorer.score(self._run, source, base)
            write_digests(self._run.folder.digests_path(source.split), source.digests)
            shards = self._run.journal.of_split(source.split)
            self._seconds[f"score_{source.split}"] = sum(shard.seconds for shard in shards)
        self._build_indexes()

    def assist(
        self, sources: Sequence[SplitSource], base: ReusableRun | None, shard_examples: int
    ) -> None:
        """Do this rank's shards of a run that the first rank writes."""
        scorer, base = self._prepare(sources, base, shard_examples)
        for source in sources:
            scorer.assist(self._run, source, base)

    def _prepare(
        self, sources: Sequence[SplitSource], base: ReusableRun | None, shard_examples: int
    ) -> tuple[ShardScorer, ReusableRun | None]:
        """Return what computes the shards, and the run whose rows they may take."""
        # First, also when it goes on in the middle: how gradients are computed is decided on
        # the first examples, and must not depend on where an earlier process was killed.
        covered = self._tracin.examine(take_first(sources))
        if "all" in self._spec.layers:
            self._layers = {"all": name_layers(covered), **self._layers}
        # What a fitted method learned depends on all examples, whether it says so or not.
        if (
            isinstance(self._attributor, FittedAttributor)
            or "whole train set" in self._attributor.needs
        ):
            base = None
        if isinstance(self._attributor, FittedAttributor):
            train = find_train(sources)
            everything = np.arange(len(train))
            self._attributor.fit(read_in_batches(train, everything, self._tracin.batch_size))
        scorer = ShardScorer(
            tracin=self._tracin,
            attributor=self._attributor,
            score_names=get_method(self._spec.method).scores,
            projection=self._spec.projection,
            scale=self._spec.network.target_scale,
            network=self._spec.network,
            train=find_train(sources),
            shard_examples=shard_examples,
            engine=self._engine,
            threads=self._threads,
            on_progress=self._on_progress,
        )
        return scorer, base

    def describe(
        self,
        *,
        key: str,
        counts: Mapping[str, int],
        data_hash: str,
        created_at: datetime,
    ) -> RunConfig:
        """Return what ``run.json`` is to hold."""
        spec, network = self._spec, self._spec.network
        return RunConfig(
            key=key,
            kind=network.kind,
            classes=network.classes,
            model=network.model_config.to_json(),
            encoder=network.encoder.to_json(),
            training=network.training,
            epochs=network.epochs,
            checkpoints=spec.checkpoints,
            counts=counts,
            layers=self._layers,
            rates=spec.rates,
            projection=dict(spec.projection.items()),
            method=spec.method,
            method_configuration=spec.method_configuration,
            scores=self._run.folder.list_scores("train"),
            last_numbers=spec.last_numbers,
            last_layer=network.last_layer,
            indexes=self._indexes,
            num_computed={split: self._run.journal.count_computed(split) for split in SPLITS},
            data_hash=data_hash,
            scoring_hash=spec.scoring_hash,
            code_version=describe_program(),
            created_at=created_at.isoformat(timespec="seconds"),
            timings={step: round(seconds, 3) for step, seconds in self._seconds.items()},
            task=network.task,
            target=network.target,
            target_scale=network.target_scale,
            quality=dict(network.quality),
        )

    def _build_indexes(self) -> None:
        start, folder = time.perf_counter(), self._run.folder
        every = self._spec.layers
        for number, layers in enumerate(every, start=1):
            vectors = np.load(folder.vectors_path(layers, "train"), mmap_mode="r")
            index = build_index(vectors, kind="auto", path=folder.index_path(layers))
            self._indexes[layers] = IndexEntry(kind=index.kind, recall=float(index.recall))
            self._on_progress(Progress("building the indexes", number, len(every)))
        self._seconds["build_indexes"] = time.perf_counter() - start


def assist_run(
    runs_folder: Path,
    network: TrainedNetwork,
    sources: Sequence[SplitSource],
    *,
    data_hash: str,
    base: RunFolder | None,
    engine: EngineChoice,
    shard_examples: int = SHARD_EXAMPLES,
    device: str = "auto",
    patience: float = PATIENCE,
    **options: Any,
) -> None:
    """Do the shards of a rank that is not the first, whose ``score_run`` makes the run of them.

    Args:
        runs_folder: As for ``score_run``, and so all that follows.
        network: The trained network.
        sources: Examples of both splits.
        data_hash: Digest of the examples.
        base: An earlier run.
        engine: "ranks".
        shard_examples: Examples that are in memory at a time.
        device: "auto" takes a GPU of its own for each rank of a machine.
        patience: Seconds that the first rank has to begin.
        **options: Those of ``score_run`` that ``resolve_spec`` takes.

    Raises:
        GradientError: If a gradient is not finite or a layer is not covered.
        ConfigurationError: If the first rank does not begin with the same specification.
    """
    device = engine.choose_device(device)
    with limit_threads_for(network.model), explain_network_errors(network.own_file, "The network"):
        spec = resolve_spec(network, sources, device=device, **options)
        digest = spec.hash_with(data_hash)
        reusable = None if base is None else find_reusable(base, spec.scoring_hash)
        threads = engine.count_threads(network.model)
        begun_as = _describe_beginning(digest, reusable, shard_examples, threads)
        run = _wait_for_first(runs_folder, digest, begun_as, patience)
        if run is None:
            return
        try:
            work = _Scoring(run, spec, device, engine, threads, ignore_progress)
            work.assist(sources, reusable, shard_examples)
        except (OSError, CheckpointError):
            # The first rank has done the rest itself, and the folder has its name by now.
            if run.folder.root.exists():
                raise


def _wait_for_first(
    runs_folder: Path, digest: str, begun_as: str, patience: float
) -> UnfinishedRun | None:
    """Return the run that the first rank has begun; None where it is complete already."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        run = UnfinishedRun.watch(_name_unfinished(runs_folder, digest), begun_as)
        if run is not None:
            return run
        finished = _find_run(runs_folder, digest)
        if finished is not None and _is_complete(finished):
            return None
        time.sleep(POLL)
    raise ConfigurationError(
        f"The first rank has not begun this run within {patience:.0f} s; expected it to score the "
        "same project with the same options on as many threads, in a workspace that all ranks "
        "share. See what it says, and start all ranks alike."
    )


def _is_complete(root: Path) -> bool:
    return root.exists() and not list(RunFolder(root).find_problems())


def _name_unfinished(runs_folder: Path, digest: str) -> Path:
    return runs_folder / f".{digest[:8]}.unfinished"


def _find_run(runs_folder: Path, digest: str) -> Path | None:
    """Return the folder of a run of the same specification, from whatever day."""
    return next(iter(sorted(runs_folder.glob(f"*-{digest[:8]}"))), None)


def _describe_beginning(
    digest: str, base: ReusableRun | None, shard_examples: int, threads: int
) -> str:
    """Return a digest of what an unfinished run must have begun with to be gone on with.

    Rows of an earlier run, batches cut elsewhere, or another number of threads may differ in
    their last digit.
    """
    made_from = {"run": digest, "base": base.key if base else "", "shard": shard_examples}
    return hash_json(made_from | {"threads": threads})


def _open_unfinished(
    runs_folder: Path, digest: str, begun_as: str, network: TrainedNetwork
) -> UnfinishedRun:
    """Go on with the unfinished run of this specification; one of another will not be finished."""
    root = _name_unfinished(runs_folder, digest)
    for other in runs_folder.glob(".*.unfinished"):
        if other != root:
            shutil.rmtree(other)
    return UnfinishedRun.open(root, begun_as, network.link_checkpoints)
