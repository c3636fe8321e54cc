"""The TracIn paper's own way to influence functions: a random sketch of the inverse.

Pruthi et al. 2020 (arXiv:2002.08484v3), appendix A.1: S minimises ``|H S - G^T|_F^2`` for a random
G of shape ``(d, P)``, so that ``S (G v)`` estimates ``H^-1 v``. By eq. (3) the gradient at S is
``2 H_1 (H_2 S - G^T)`` with two independently drawn minibatches, else it would be biased.

The paper gives neither d nor a step. Here H carries the damping, because the condition number is
squared; steps are those of gradient descent with momentum, and S is averaged over their last half.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracin_core.curvature.inverse import Inverse
from tracin_core.curvature.operator import Curvature
from tracin_core.errors import ConfigurationError


class SketchedInverse(Inverse):
    """Estimates the inverse by ``S G``, where S has been found by descent.

    Even with the best S an influence has a standard error of about ``|H^-1 g| |g'| / sqrt(d)``.

    Args:
        curvature: H.
        damping: Added to it, in both minibatches.
        dim: Rows d of G.
        steps: Of the descent; two minibatches each.
        momentum: Between 0 and 1; 0 is the paper's plain descent.
        whole: Whether each step takes all examples instead of two minibatches.
        seed: Of G and the minibatches.

    Raises:
        ConfigurationError: If the descent does not come nearer than S = 0.
    """

    def __init__(
        self,
        curvature: Curvature,
        damping: float,
        *,
        dim: int,
        steps: int,
        momentum: float,
        whole: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self._curvature, self._damping, self._whole = curvature, damping, whole
        self._map = curvature.draw(dim, seed) / dim**0.5  # G^T, shape (P, d)
        self._generator = torch.Generator().manual_seed(seed + 1)
        largest = curvature.estimate_largest(seed=seed) + damping
        # A minibatch's largest eigenvalue is above the whole set's; the product squares it.
        rate = 1 / (largest if whole else 2 * largest) ** 2
        self._sketch = self._descend(steps, rate, momentum)
        rest = self._product(self._sketch, exact=True) - self._map
        residual = float(rest.norm() / self._map.norm())
        self.report |= {"residual": residual, "dim": dim, "steps": steps}
        if not residual < 1:
            raise ConfigurationError(
                f"The sketch of the inverse has a relative residual of {residual:.2g}; expected "
                "less than 1, which S = 0 has. Choose a larger damping, momentum=0, or a batch "
                "size near the number of train examples."
            )

    def apply(self, vectors: Tensor) -> Tensor:
        """Return ``S (G V)``, shape ``(P, K)``."""
        found: Tensor = self._sketch @ (self._map.t() @ vectors.to(self._map.dtype))
        return found

    def _descend(self, steps: int, rate: float, momentum: float) -> Tensor:
        sketch = torch.zeros_like(self._map)
        speed, average = torch.zeros_like(sketch), torch.zeros_like(sketch)
        averaged = 0
        for step in range(steps):
            ahead = sketch + momentum * speed
            inner = self._product(ahead, exact=self._whole) - self._map
            speed = momentum * speed - rate * self._product(inner, exact=self._whole)
            sketch = sketch + speed
            if step >= steps // 2:
                averaged += 1
                average += (sketch - average) / averaged
        return sketch if self._whole else average

    def _product(self, vectors: Tensor, *, exact: bool) -> Tensor:
        curvature = self._curvature
        product = (
            curvature.multiply(vectors)
            if exact
            else curvature.multiply_random(vectors, self._generator)
        )
        return product + self._damping * vectors
