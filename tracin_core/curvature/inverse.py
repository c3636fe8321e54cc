"""What every solver gives: products with ``(H + damping I)^-1``, and how far they are off."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from tracin_core.curvature.operator import Curvature
from tracin_core.errors import ConfigurationError


class Inverse(ABC):
    """Stands for ``(H + damping I)^-1``, or what a solver takes for it.

    Attributes:
        report: How it was solved, as JSON: "residual" is ``|(H + damping) x - v| / |v|``, the
            largest seen, where the solver measures it.
    """

    def __init__(self) -> None:
        self.report: dict[str, float | int | str] = {}

    @abstractmethod
    def apply(self, vectors: Tensor) -> Tensor:
        """Return ``(H + damping I)^-1 V``, shape ``(P, K)`` as ``vectors``."""

    def pair(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``left^T (H + damping I)^-1 right``, shape ``(K, L)``."""
        return left.t() @ self.apply(right)

    def pair_with_itself(self, vectors: Tensor) -> Tensor:
        """Return ``v^T (H + damping I)^-1 v`` of each column, shape ``(K,)``."""
        return (vectors * self.apply(vectors)).sum(0)


class FactorisedInverse(Inverse):
    """An inverse with a root, so that influences are dot products."""

    @abstractmethod
    def root(self, vectors: Tensor) -> Tensor:
        """Return R V, shape ``(D, K)``, with ``R^T R = (H + damping I)^-1``."""

    def pair(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``left^T (H + damping I)^-1 right``, shape ``(K, L)``."""
        return self.root(left).t() @ self.root(right)

    def pair_with_itself(self, vectors: Tensor) -> Tensor:
        """Return ``v^T (H + damping I)^-1 v`` of each column, shape ``(K,)``."""
        return self.root(vectors).square().sum(0)


def measure_residual(
    curvature: Curvature, solution: Tensor, vectors: Tensor, damping: float
) -> float:
    """Return the largest ``|(H + damping) x - v| / |v|`` over the columns."""
    rest = curvature.multiply(solution) + damping * solution - vectors
    lengths = vectors.norm(dim=0)
    return float((rest.norm(dim=0) / lengths.clamp_min(1e-300)).max()) if lengths.numel() else 0.0


def refuse_negative(smallest: float, damping: float) -> None:
    """Refuse a matrix that is not positive with its damping.

    Args:
        smallest: Smallest eigenvalue of H, or a direction's curvature.
        damping: What is added.

    Raises:
        ConfigurationError: If their sum is not positive.
    """
    if not smallest + damping > 0:
        raise ConfigurationError(
            f"The curvature of the train loss is {smallest:.3g} in some direction; expected more "
            f"than -{damping:g}, so that it is positive with the damping {damping:g}. The "
            "checkpoint is no minimum: choose curvature='gauss_newton', which is never negative, "
            "or a larger damping."
        )
