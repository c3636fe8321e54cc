"""Projection of rows that are no parameters' gradients, by the same maps."""

from __future__ import annotations

import torch
from torch import Tensor

from tracin_core.gradients.factored import Dense
from tracin_core.projection.config import Projection
from tracin_core.projection.projector import Projector


def project_rows(rows: Tensor, projection: Projection) -> Tensor:
    """Return rows ``(N, P)`` projected to ``(N, D)``; dot products are kept on average.

    Args:
        rows: Of any origin; equal settings give the same map.
        projection: Form, size and seed.
    """
    if not rows.numel():
        return rows.new_zeros(len(rows), projection.dim)
    shape = torch.Size((rows.shape[1],))
    projector = Projector(projection, 0, {"rows": shape}, rows.device, rows.dtype)
    sketch = projector.open(len(rows))
    Dense(rows, shape).add_to_sketch(sketch, "rows")
    found = sketch.finish()
    return rows.new_zeros(len(rows), projection.dim) if found is None else found
