"""From a trained network to a scored run on disk: one capture pass over each split.

Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tracin_core.examples.datasets import EncodedDataset
from tracin_core.examples.encoding import Encoder
from tracin_core.files import atomic_folder
from tracin_core.gradients.projection import Projection
from tracin_core.influence.checkpoints import Checkpoint
from tracin_core.influence.collect import EXACT_LAST_NUMBERS
from tracin_core.influence.signals import Capture
from tracin_core.influence.tracin import TracIn
from tracin_core.jobs.progress import OnProgress, Progress, ignore_progress
from tracin_core.jobs.threads import threads_limited_for
from tracin_core.models.config import ModelConfig
from tracin_core.retrieval import build_index
from tracin_core.runs import CheckpointEntry, IndexEntry, ProjectionEntry, RunConfig, RunFolder
from tracin_core.runs.config import Kind, Rates
from tracin_core.runs.folder import LAYERS
from tracin_core.runs.hashing import describe_code_version, hash_file, hash_json, make_run_key
from tracin_core.runs.signals import Signals
from tracin_core.terms import Layers, Split

# An error of 6% in a dot product, relative to the product of the norms, for 2 KB an example.
PROJECTION = ProjectionEntry(dim=512, seed=0)


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network with its checkpoints and everything that made it.

    Attributes:
        kind: What an example is.
        classes: Class names.
        model: The network; its weights do not matter, the checkpoints bring theirs.
        model_config: What ``model`` was built from.
        encoder: What makes its inputs.
        training: Configuration of the training, as JSON.
        epochs: What the training recorded after each epoch.
        folder: What the checkpoints' files are relative to.
        checkpoints: In training order.
    """

    kind: Kind
    classes: tuple[str, ...]
    model: nn.Module
    model_config: ModelConfig
    encoder: Encoder
    training: dict[str, Any]
    epochs: tuple[dict[str, float], ...]
    folder: Path
    checkpoints: tuple[CheckpointEntry, ...]


@dataclass
class _Stopwatch:
    """Seconds per step of the work."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - start, 3)


def score_run(
    runs_folder: Path,
    network: TrainedNetwork,
    datasets: dict[Split, EncodedDataset],
    *,
    data_hash: str,
    rates: Rates = "ones",
    on_progress: OnProgress = ignore_progress,
) -> RunFolder:
    """Score every example and write the run's folder, which appears when it is complete.

    A complete folder of the same data, checkpoints, options and program is used as it is.

    Args:
        runs_folder: ``projects/<slug>/runs``.
        network: The trained network.
        datasets: Encoded examples by split.
        data_hash: Digest of the examples.
        rates: Whether vectors carry the recorded learning rates or ones. Ones, because that
            is what the queue's self-influence uses: both then tell the same story.
        on_progress: Told about every batch.

    Returns:
        The run's folder.

    Raises:
        GradientError: If a gradient is not finite or a layer is not covered.
        CheckpointError: If a checkpoint cannot be loaded.
    """
    entries = _with_hashes(network)
    made_from = {
        "data": data_hash,
        "checkpoints": [entry.sha256 for entry in entries],
        "model": network.model_config.to_json(),
        "encoder": network.encoder.to_json(),
        "rates": rates,
        "projection": asdict(PROJECTION),
        "code": describe_code_version(),
    }
    created_at = datetime.now(UTC)
    digest = hash_json(made_from)
    root = _find_run(runs_folder, digest) or runs_folder / make_run_key(digest, created_at)
    if root.exists() and not list(RunFolder(root).find_problems()):
        return RunFolder(root)
    with atomic_folder(root) as building:
        work = _Scoring(RunFolder(building), network, entries, rates, on_progress)
        with threads_limited_for(network.model):
            work.score(datasets)
        config = work.describe(
            key=root.name,
            counts={split: len(dataset) for split, dataset in datasets.items()},
            data_hash=data_hash,
            code_version=str(made_from["code"]),
            created_at=created_at.isoformat(timespec="seconds"),
        )
        RunFolder(building).write_config(config)
    return RunFolder(root)


class _Scoring:
    """One run in the making, in a folder that nobody reads yet."""

    def __init__(
        self,
        folder: RunFolder,
        network: TrainedNetwork,
        entries: Sequence[CheckpointEntry],
        rates: Rates,
        on_progress: OnProgress,
    ) -> None:
        self._folder = folder
        self._network = network
        self._entries = tuple(entries)
        self._rates: Rates = rates
        self._on_progress = on_progress
        self._stopwatch = _Stopwatch()
        self._indexes: dict[str, IndexEntry] = {}
        _link_checkpoints(network, folder)
        checkpoints = [
            Checkpoint(
                weights=folder.root / entry.file,
                learning_rate=entry.learning_rate,
                step=entry.step,
            )
            for entry in self._entries
        ]
        self._tracin = TracIn(network.model, checkpoints, rates=rates)
        self._layers: dict[str, tuple[str, ...]] = {}
        self._projections: dict[str, ProjectionEntry | None] = {}

    def score(self, datasets: dict[Split, EncodedDataset]) -> None:
        """Write signals, probabilities, vectors and indexes."""
        self._examine(datasets["train"])
        for split, dataset in datasets.items():
            with self._stopwatch.time(f"score_{split}"):
                self._write(split, self._capture(split, dataset))
        with self._stopwatch.time("build_indexes"):
            for number, layers in enumerate(LAYERS, start=1):
                self._build_index(layers)
                self._on_progress(Progress("building the indexes", number, 2))

    def describe(self, **made: Any) -> RunConfig:
        """Return what ``run.json`` is to hold."""
        network = self._network
        return RunConfig(
            kind=network.kind,
            classes=network.classes,
            model=network.model_config.to_json(),
            encoder=network.encoder.to_json(),
            training=network.training,
            epochs=network.epochs,
            checkpoints=self._entries,
            layers=self._layers,
            rates=self._rates,
            projection=self._projections,
            indexes=self._indexes,
            timings=self._stopwatch.seconds,
            **made,
        )

    def _examine(self, dataset: EncodedDataset) -> None:
        """Note which layers are covered, and which vectors the capture pass will project."""
        last = TracIn(self._network.model, self._tracin.checkpoints[-1:], layers="last")
        covered = {
            "all": self._tracin.examine(dataset),
            "last": last.examine(dataset),
        }
        self._layers = {layers: name_layers(entry.covered) for layers, entry in covered.items()}
        sizes = {entry.name: entry.size for entry in covered["last"]}
        numbers = len(self._entries) * sum(sizes[name] for name in covered["last"].covered)
        exact = numbers <= EXACT_LAST_NUMBERS
        self._projections = {"all": PROJECTION, "last": None if exact else PROJECTION}

    def _capture(self, split: Split, dataset: EncodedDataset) -> Capture:
        stage = f"scoring the {split} examples"
        return self._tracin.capture(
            dataset,
            projection=Projection(dim=PROJECTION.dim, seed=PROJECTION.seed),
            last_layer_vectors=True,
            on_progress=lambda done, total: self._on_progress(Progress(stage, done, total)),
        )

    def _write(self, split: Split, capture: Capture) -> None:
        self._folder.write_signals(split, as_signals(capture))
        self._folder.write_probabilities(split, as_array(capture.probabilities))
        self._folder.write_vectors("all", split, as_array(capture.vectors))
        self._folder.write_vectors("last", split, as_array(capture.last_vectors))

    def _build_index(self, layers: Layers) -> None:
        path = self._folder.index_path(layers)
        vectors = np.load(self._folder.vectors_path(layers, "train"), mmap_mode="r")
        index = build_index(vectors, kind="auto", path=path)
        self._indexes[layers] = IndexEntry(kind=index.kind, recall=float(index.recall))


def as_signals(capture: Capture) -> Signals:
    """Return what a capture pass measured in the types that are stored."""
    return Signals(
        self_influence_all=as_array(capture.squared_norms_all),
        self_influence_last=as_array(capture.squared_norms_last),
        loss=as_array(capture.losses),
        margin=as_array(capture.margins),
        predicted=as_array(capture.predicted).astype(np.int16),
        given_probability=as_array(capture.given_probability),
    )


def as_array(tensor: Tensor | None) -> npt.NDArray[np.float32]:
    """Return a captured tensor in single precision; it must have been asked for."""
    if tensor is None:
        raise ValueError("the capture pass was not asked for these vectors")
    return tensor.detach().to("cpu", torch.float32).numpy()


def name_layers(parameters: Sequence[str]) -> tuple[str, ...]:
    """Return the modules that hold these parameters, in order, each once."""
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in parameters))


def _with_hashes(network: TrainedNetwork) -> list[CheckpointEntry]:
    return [
        CheckpointEntry(
            **{
                **asdict(entry),
                "file": f"checkpoints/{Path(entry.file).name}",
                "sha256": hash_file(network.folder / entry.file),
            }
        )
        for entry in network.checkpoints
    ]


def _find_run(runs_folder: Path, digest: str) -> Path | None:
    """Return the folder of a run of the same making, from whatever day."""
    return next(iter(sorted(runs_folder.glob(f"*-{digest[:8]}"))), None)


def _link_checkpoints(network: TrainedNetwork, folder: RunFolder) -> None:
    """Put the checkpoints into the run's folder without storing them twice where possible."""
    folder.checkpoints_folder.mkdir()
    for entry in network.checkpoints:
        source = network.folder / entry.file
        target = folder.checkpoints_folder / source.name
        try:
            os.link(source, target)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, target)
