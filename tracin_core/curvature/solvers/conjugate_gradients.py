"""Conjugate gradients: one linear system for each vector, all columns together.

Martens 2010; Koh and Liang 2017 (arXiv:1703.04730), Sec. 3.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from tracin_core.curvature.inverse import Inverse, measure_residual, refuse_negative
from tracin_core.curvature.operator import Curvature


class ConjugateGradients(Inverse):
    """Solves for each vector until its residual is below the tolerance.

    A product with H for every step, so self-scores of N examples take N columns a step.

    Args:
        curvature: H.
        damping: Added to it.
        iterations: Most steps.
        tolerance: Relative residual at which a column is done.
    """

    def __init__(
        self, curvature: Curvature, damping: float, *, iterations: int, tolerance: float
    ) -> None:
        super().__init__()
        self._curvature, self._damping = curvature, damping
        self._iterations, self._tolerance = iterations, tolerance
        self.report |= {"residual": 0.0, "steps": 0}

    def apply(self, vectors: Tensor) -> Tensor:
        """Return ``(H + damping I)^-1 V``, shape ``(P, K)``.

        Raises:
            ConfigurationError: If a direction has negative curvature.
        """
        vectors = vectors.to(self._curvature.dtype)
        limits = self._tolerance * vectors.norm(dim=0)
        solution = torch.zeros_like(vectors)
        rest, direction = vectors.clone(), vectors.clone()
        squares = rest.square().sum(0)
        steps = 0
        while steps < self._iterations and bool((squares.sqrt() > limits).any()):
            open_ = squares.sqrt() > limits
            product = self._curvature.multiply(direction) + self._damping * direction
            curved = (direction * product).sum(0)
            lengths = direction.square().sum(0)
            shares = torch.where(open_, curved / lengths.clamp_min(1e-300), torch.inf)
            refuse_negative(float(shares.min()) - self._damping, self._damping)
            step = torch.where(open_, squares / curved, 0.0)
            solution += step * direction
            rest -= step * product
            fresh = rest.square().sum(0)
            factor = torch.where(open_, fresh / squares.clamp_min(1e-300), 0.0)
            direction = torch.where(open_, rest + factor * direction, direction)
            squares = torch.where(open_, fresh, squares)
            steps += 1
        self._note(measure_residual(self._curvature, solution, vectors, self._damping), steps)
        return solution

    def _note(self, residual: float, steps: int) -> None:
        self.report["residual"] = max(float(self.report["residual"]), residual)
        self.report["steps"] = max(int(self.report["steps"]), steps)
        if residual > max(10 * self._tolerance, 1e-3):
            warnings.warn(
                f"Conjugate gradients stopped after {steps} steps with a relative residual of "
                f"{residual:.2g}; expected at most {self._tolerance:g}. The influences are off by "
                "about as much: allow more iterations, or choose a larger damping.",
                RuntimeWarning,
                stacklevel=3,
            )
