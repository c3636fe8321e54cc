"""What a capture pass measured, in the types and units that a run stores. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from relabel.runs.config import TargetScale
from relabel.runs.folder import pack_probabilities
from relabel.runs.shards import Shard
from relabel.runs.signals import Signals
from relabel.text import Layers
from tracin_core.capture.signals import Capture


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
