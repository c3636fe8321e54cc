"""``Projector``: all random maps of one checkpoint, one for each parameter, whatever their form."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from tracin_core.projection.config import Projection
from tracin_core.projection.dense import (
    DenseMatrix,
    DenseSketch,
    FactoredSketch,
    FactorPair,
    refuse_large_matrices,
)
from tracin_core.projection.sketch import Sketch, make_hashes


class Projector:
    """Projects the gradients of one checkpoint; the same on every device.

    Args:
        projection: Form, kind, size and seed.
        checkpoint: Index of the checkpoint; each has independent maps.
        shapes: Shape of each parameter by name.
        device: Where the gradients are.
        dtype: Number type of the gradients.
        scales: What each parameter's gradient is multiplied by, if not by one.

    Raises:
        ConfigurationError: If dense matrices would be too large.
    """

    def __init__(
        self,
        projection: Projection,
        checkpoint: int,
        shapes: Mapping[str, torch.Size],
        device: torch.device,
        dtype: torch.dtype,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        self._open = _choose(projection, checkpoint, shapes, device, dtype, scales or {})

    def open(self, batch_size: int) -> Sketch:
        """Return an empty sketch for a batch of B examples."""
        return self._open(batch_size)


def _choose(
    projection: Projection,
    checkpoint: int,
    shapes: Mapping[str, torch.Size],
    device: torch.device,
    dtype: torch.dtype,
    scales: Mapping[str, float],
) -> Callable[[int], Sketch]:
    dim = projection.dim
    if projection.form == "sketch":
        hashes = make_hashes(projection, checkpoint, shapes, device, dtype)
        for name, factor in scales.items():
            hashes[name].scale(factor)
        return lambda batch_size: Sketch(dim, hashes, batch_size)
    if projection.form == "dense":
        refuse_large_matrices(projection, shapes)
        matrices = {
            name: DenseMatrix(name, shape, projection, checkpoint).to(device, dtype)
            for name, shape in shapes.items()
        }
        for name, factor in scales.items():
            matrices[name].scale(factor)
        return lambda batch_size: DenseSketch(dim, matrices, batch_size)
    pairs = {
        name: FactorPair(name, shape, projection, checkpoint).to(device, dtype)
        for name, shape in shapes.items()
    }
    for name, factor in scales.items():
        pairs[name].scale(factor)
    return lambda batch_size: FactoredSketch(dim, pairs, batch_size)
