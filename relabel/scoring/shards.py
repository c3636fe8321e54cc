"""Score a split shard by shard, so that memory does not grow with the number of examples.

What a capture pass measured becomes the rows of a shard; rows that an earlier run has of the same
example are copied instead of computed. Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from relabel.fitting.data import SplitSource, read_in_batches
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.runs.config import ProjectionEntry, TargetScale
from relabel.runs.folder import Digests, RunFolder, pack_probabilities, read_digests
from relabel.runs.shards import Shard, UnfinishedRun
from relabel.runs.signals import Signals, read_signals_between
from relabel.scoring.spec import as_projection
from relabel.text import SPLITS, Layers, Split
from tracin_core.attribution import Attributor, CaptureAttributor
from tracin_core.capture.signals import Capture
from tracin_core.errors import GradientError
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
        shard_examples: Examples that are in memory at a time.
        on_progress: Told about every batch.
    """

    tracin: TracIn
    attributor: Attributor
    score_names: Collection[str]
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
            GradientError: If one is not finite, of another shape, or of a name that the method did
                not register.
        """
        shape = tuple(capture.losses.shape)
        if isinstance(self.attributor, CaptureAttributor):
            return _check_scores(self.attributor.read_capture(capture), shape, self.score_names)
        # Test examples have no scores by a method that defines them for train examples.
        scores = self.attributor.scores(loader) if split == "train" else {}
        return _check_scores(scores, shape[1:], self.score_names)


def _check_scores(
    scores: object, shape: tuple[int, ...], names: Collection[str]
) -> dict[str, Tensor]:
    """Return what a method gave, if it can be stored; methods may be anybody's.

    Raises:
        GradientError: If it cannot.
    """
    if not isinstance(scores, Mapping):
        raise GradientError(
            f"The attribution method gave a {type(scores).__name__}; expected a dict of scores by "
            "name. Mend the method, or choose another one."
        )
    for name, values in scores.items():
        if name not in names:
            raise GradientError(
                f"The attribution method gave the scores {name!r:.80}, which it did not register; "
                f"expected {', '.join(names)}. Name them in register_attributor(scores=)."
            )
        if not isinstance(values, Tensor) or values.is_complex():
            what = f"complex {values.dtype}" if isinstance(values, Tensor) else type(values)
            raise GradientError(
                f"The attribution method gave the scores {name!r} as {what}; expected a tensor of "
                "real numbers. Mend the method, or choose another one."
            )
        # As they are stored: a number beyond single precision would be infinite there.
        if tuple(values.shape) != shape or not bool(values.to(torch.float32).isfinite().all()):
            raise GradientError(
                f"The attribution method gave the scores {name!r} with the shape "
                f"{tuple(values.shape)}; expected {' x '.join(map(str, shape))} finite numbers "
                "within single precision. Mend the method, or choose another one."
            )
    return dict(scores)


def as_shard(capture: Capture, scores: Mapping[str, Tensor]) -> Shard:
    """Return what was measured in the types that are stored.

    Args:
        capture: What the capture pass measured of B examples at C checkpoints.
        scores: Named scores of the attribution method, shape ``(C, B)``; or ``(B,)`` where they
            are not of single checkpoints.
    """
    signals = Signals(
        scores=_as_rows(scores, len(capture.losses)),
        loss=_as_array(capture.losses),
        margin=_as_array(capture.margins),
        predicted=_as_labels(capture),
        given_probability=_as_array(capture.given_probability),
    )
    return Shard(
        signals=signals,
        probabilities=pack_probabilities(_as_array(capture.probabilities)),
        vectors=_collect_vectors(capture),
    )


def as_value_shard(
    capture: Capture, scores: Mapping[str, Tensor], targets: Tensor, scale: TargetScale
) -> Shard:
    """Return what was measured of a regression, numbers in the target's own unit.

    Args:
        capture: Of B examples at C checkpoints, for standardised targets.
        scores: As in ``as_shard``.
        targets: Standardised, shape ``(B,)``.
        scale: How they were standardised.
    """
    predicted = capture.predicted.to(torch.float64)
    shape = tuple(capture.losses.shape)
    missing = np.full(shape, np.nan, dtype=np.float32)
    signals = Signals(
        scores=_as_rows(scores, len(capture.losses)),
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
        vectors=_collect_vectors(capture),
    )


def _collect_vectors(capture: Capture) -> dict[Layers, npt.NDArray[np.float32]]:
    """Return the vectors that the pass was asked for."""
    found: dict[Layers, Tensor | None] = {"all": capture.vectors, "last": capture.last_vectors}
    return {layers: _as_array(rows) for layers, rows in found.items() if rows is not None}


def _as_rows(
    scores: Mapping[str, Tensor], num_checkpoints: int
) -> dict[str, npt.NDArray[np.float32]]:
    """Return scores at each checkpoint; those of no single one are the same at each."""
    rows = {name: _as_array(values) for name, values in scores.items()}
    return {
        name: values if values.ndim > 1 else np.tile(values, (num_checkpoints, 1))
        for name, values in rows.items()
    }


def _as_labels(capture: Capture) -> npt.NDArray[np.integer]:
    few = capture.probabilities.shape[1] <= np.iinfo(np.int16).max
    predicted = capture.predicted.detach().cpu().numpy()
    return predicted.astype(np.int16 if few else np.int32)


def _as_array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().to("cpu", torch.float32).numpy()


@dataclass(frozen=True, eq=False)
class ReusableRun:
    """A sound run that differs from a new one in its data only.

    Attributes:
        folder: Its files.
        key: Its name.
        num_checkpoints: C.
        layers: Whose vectors it has.
        digests: Of its examples by split, shape ``(N, 16)``.
    """

    folder: RunFolder
    key: str
    num_checkpoints: int
    layers: tuple[Layers, ...]
    digests: Mapping[Split, Digests]

    def find_changed(self, split: Split, start: int, digests: Digests) -> npt.NDArray[np.intp]:
        """Return the positions from ``start`` on whose example is another one in this run.

        Args:
            split: Which examples.
            start: Position of the first.
            digests: Of the examples as they are now, shape ``(B, 16)``. Where the run does not
                have as many, all are returned.
        """
        known = self.digests[split][start : start + len(digests)]
        if known.shape != digests.shape:
            return np.arange(start, start + len(digests))
        return start + np.flatnonzero((known != digests).any(axis=1))

    def read_shard(self, split: Split, start: int, stop: int) -> Shard:
        """Read what is stored about the positions ``start`` to ``stop - 1``.

        Raises:
            RunFolderError: If a file is missing or damaged.
        """
        return Shard(
            signals=read_signals_between(
                self.folder.signals_path(split), start, stop, self.num_checkpoints
            ),
            probabilities=np.array(self.folder.probabilities(split)[start:stop]),
            vectors={
                layers: np.array(self.folder.vectors(layers, split)[start:stop])
                for layers in self.layers
            },
        )


def find_reusable(folder: RunFolder, scoring_hash: str) -> ReusableRun | None:
    """Return a run whose rows may be reused, or None where they may not.

    Args:
        folder: The earlier run.
        scoring_hash: Digest of everything but the data that decides the numbers: checkpoints,
            network, encoder, rates, layers, projection, scoring version.
    """
    if list(folder.find_problems()):
        return None
    config = folder.read_config()
    digests = {
        split: read_digests(folder.digests_path(split), config.counts[split]) for split in SPLITS
    }
    known = {split: found for split, found in digests.items() if found is not None}
    if config.scoring_hash != scoring_hash or len(known) < len(SPLITS):
        return None
    return ReusableRun(folder, config.key, len(config.checkpoints), config.scored_layers, known)
