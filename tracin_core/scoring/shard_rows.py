"""From what a capture pass measured to the rows that a run stores. Imports torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracin_core.influence.signals import Capture
from tracin_core.runs import TargetScale
from tracin_core.runs.probabilities import pack_probabilities
from tracin_core.runs.shards import Shard
from tracin_core.runs.signals import Signals
from tracin_core.terms import Layers


def as_shard(capture: Capture) -> Shard:
    """Return what a capture pass measured in the types that are stored."""
    signals = Signals(
        self_influence_all=_find_norms_of_all(capture),
        self_influence_last=_as_array(capture.squared_norms_last),
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
        self_influence_all=_find_norms_of_all(capture),
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
        vectors=_collect_vectors(capture),
    )


def _collect_vectors(capture: Capture) -> dict[Layers, npt.NDArray[np.float32]]:
    """Return the vectors that the pass was asked for."""
    found: dict[Layers, Tensor | None] = {"all": capture.vectors, "last": capture.last_vectors}
    return {layers: _as_array(rows) for layers, rows in found.items() if rows is not None}


def _find_norms_of_all(capture: Capture) -> npt.NDArray[np.float32] | None:
    """Return the norms over all layers; None of a pass over the last one, which repeats its."""
    return None if capture.vectors is None else _as_array(capture.squared_norms_all)


def _as_labels(capture: Capture) -> npt.NDArray[np.integer]:
    few = capture.probabilities.shape[1] <= np.iinfo(np.int16).max
    predicted = capture.predicted.detach().cpu().numpy()
    return predicted.astype(np.int16 if few else np.int32)


def _as_array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().to("cpu", torch.float32).numpy()
