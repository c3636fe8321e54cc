"""LiSSA: the inverse as a series, one minibatch a term (Agarwal et al. 2017, arXiv:1602.03943).

Koh and Liang 2017 (arXiv:1703.04730), Sec. 3: ``h <- v + (I - (H_b + damping) / s) h``, result
``h / s``. Their code takes the damping times s; here it is what is added to H, as everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracin_core.curvature.inverse import Inverse, measure_residual
from tracin_core.curvature.operator import Curvature
from tracin_core.errors import ConfigurationError

# The largest eigenvalue of a minibatch is above that of the whole set.
SAFETY = 2.0


class Lissa(Inverse):
    """Solves by a series of minibatch products, averaged over repetitions.

    The error left by the series is about ``(1 - damping / s)^depth``; that of the minibatches
    falls with the square root of ``samples``.

    Args:
        curvature: H.
        damping: Added to it.
        depth: Terms of the series, one minibatch each.
        samples: Repetitions.
        scale: s, above the largest eigenvalue of every minibatch; None takes twice that of H.
        seed: Of the minibatches.
    """

    def __init__(
        self,
        curvature: Curvature,
        damping: float,
        *,
        depth: int,
        samples: int,
        scale: float | None,
        seed: int,
    ) -> None:
        super().__init__()
        self._curvature, self._damping = curvature, damping
        self._depth, self._samples, self._seed = depth, samples, seed
        self._scale = scale or SAFETY * (curvature.estimate_largest(seed=seed) + damping)
        self.report |= {"scale": self._scale, "residual": 0.0}

    def apply(self, vectors: Tensor) -> Tensor:
        """Return ``(H + damping I)^-1 V``, shape ``(P, K)``.

        The same minibatches are drawn for every call, so that it is linear in ``vectors``.

        Raises:
            ConfigurationError: If the series does not converge.
        """
        vectors = vectors.to(self._curvature.dtype)
        generator = torch.Generator().manual_seed(self._seed)
        total = torch.zeros_like(vectors)
        for _ in range(self._samples):
            series = vectors.clone()
            for _ in range(self._depth):
                product = self._curvature.multiply_random(series, generator)
                series += vectors - (product + self._damping * series) / self._scale
            total += series / self._scale
        solution = total / self._samples
        residual = float("nan")
        if bool(solution.isfinite().all()):
            residual = measure_residual(self._curvature, solution, vectors, self._damping)
        if not residual < 1:
            raise ConfigurationError(
                f"LiSSA's series has a relative residual of {residual:.2g} with the scale "
                f"{self._scale:.3g}, depth {self._depth} and damping {self._damping:g}; expected "
                "less than 1. Choose a larger scale if it is no number or large, a greater depth "
                "or damping if it is near 1, or solver='cg'."
            )
        self.report["residual"] = max(float(self.report["residual"]), residual)
        return solution
