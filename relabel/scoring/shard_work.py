"""The work on one shard of a split: capture it, or copy what an earlier run has of it.

What a capture pass measured becomes the rows of a shard; rows that an earlier run has of the same
example are copied instead of computed. Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from relabel.fitting.data import ExampleSource, SplitSource, read_in_batches
from relabel.fitting.network import TrainedNetwork
from relabel.models.user.code import explain_network_errors
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.runs.config import ProjectionEntry, TargetScale
from relabel.runs.shards import Shard
from relabel.scoring.measured import as_shard, as_value_shard
from relabel.scoring.portable import open_portable, pack_portable
from relabel.scoring.reuse import ReusableRun
from relabel.scoring.spec import as_projection, take_first_of
from relabel.text import Layers
from tracin_core.attribution import Attributor, CaptureAttributor
from tracin_core.capture.signals import Capture
from tracin_core.errors import GradientError
from tracin_core.tracin import TracIn

# How many examples were computed, beside the arrays of a shard.
COMPUTED = "computed"


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardWork:
    """Makes shards of one split, here or in the process of a worker.

    What travels to a worker is how to open things, not what is in them: the network by its
    description and the checkpoints' paths, encoded examples by the paths of their files.

    Attributes:
        tracin: The engine with the network and its checkpoints.
        attributor: The method whose scores are stored beside what the capture pass measures.
        score_names: What the method registered.
        projection: Of the vectors of each layers that are scored; None where they are exact.
        scale: How targets were standardised, for regression.
        source: The split.
        train: Train examples, on the first of which is decided how gradients are computed.
        base: A run whose rows are taken for examples that are the same there.
        own_file: The Python file of a person's own network, for messages.
        network: What ``tracin`` was made of; None where that can be pickled as it is.
        on_progress: Told about every batch; not by a worker.
    """

    tracin: TracIn
    attributor: Attributor
    score_names: Collection[str]
    projection: Mapping[Layers, ProjectionEntry | None]
    scale: TargetScale | None
    source: SplitSource
    train: ExampleSource
    base: ReusableRun | None
    own_file: Path | None
    network: TrainedNetwork | None
    on_progress: OnProgress

    def __call__(self, span: range) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of a shard by name.

        Args:
            span: The positions of its examples.

        Raises:
            GradientError: If a gradient is not finite or a layer is not covered.
        """
        with explain_network_errors(self.own_file, "The network"):
            shard, computed = self._make(span.start, span.stop)
        return shard.to_arrays() | {COMPUTED: np.array(computed)}

    def __reduce__(self) -> tuple[Any, ...]:
        travelling = {
            entry.name: getattr(self, entry.name)
            for entry in fields(self)
            if entry.name not in ("network", "on_progress")
        }
        return _open_work, pack_portable(travelling, self.network)

    def _make(self, start: int, stop: int) -> tuple[Shard, int]:
        """Return a shard and how many of its examples were computed."""
        source, base = self.source, self.base
        everything = np.arange(start, stop)
        changed = everything
        if base is not None:
            changed = base.find_changed(source.split, start, source.digests[start:stop])
        if base is None or len(changed) == stop - start:
            return self._capture(everything), stop - start
        shard = base.read_shard(source.split, start, stop)
        if len(changed):
            shard = shard.replace_rows(changed - start, self._capture(changed))
        return shard, len(changed)

    def _capture(self, positions: npt.NDArray[np.intp]) -> Shard:
        source = self.source
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
        scores = self._find_scores(capture, loader)
        if self.scale is None:
            return as_shard(capture, scores)
        targets = loader.dataset.targets  # type: ignore[attr-defined]
        return as_value_shard(capture, scores, targets, self.scale)

    def _find_scores(self, capture: Capture, loader: Any) -> Mapping[str, Tensor]:
        """Return the method's scores, from the pass that has been made where they are in it.

        Raises:
            GradientError: If one is not finite, of another shape, or of a name that the method did
                not register.
        """
        shape = tuple(capture.losses.shape)
        if isinstance(self.attributor, CaptureAttributor):
            return _check_scores(self.attributor.read_capture(capture), shape, self.score_names)
        # Test examples have no scores by a method that defines them for train examples.
        scores = self.attributor.scores(loader) if self.source.split == "train" else {}
        return _check_scores(scores, shape[1:], self.score_names)


def _open_work(recipe: Mapping[str, Any] | None, state: bytes) -> ShardWork:
    """Return work in the process of a worker, as it was in the driver's."""
    values = open_portable(recipe, state)
    work = ShardWork(**values, network=None, on_progress=ignore_progress)
    with explain_network_errors(work.own_file, "The network"):
        work.tracin.examine(take_first_of(work.train))
    return work


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
