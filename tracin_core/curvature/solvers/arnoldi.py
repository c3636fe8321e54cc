"""Arnoldi iteration: the largest eigenvalues, and an inverse on their space alone.

Schioppa et al. 2022 (arXiv:2112.03052), Sec. 3.2. H is symmetric, so the Hessenberg matrix is
tridiagonal (Lanczos); every new vector is made orthogonal to all others twice, because rounding
would let copies of the largest eigenvalue in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracin_core.curvature.inverse import FactorisedInverse, refuse_negative
from tracin_core.curvature.operator import Curvature


class ArnoldiInverse(FactorisedInverse):
    """Inverts H on the space of its ``rank`` largest eigenvalues, and forgets the rest.

    Args:
        curvature: H.
        damping: Added to the eigenvalues.
        rank: Eigenvalues that are kept, the numbers D of a vector.
        iterations: Steps, a product with H each; at least ``rank``.
        seed: Of the first vector.

    Raises:
        ConfigurationError: If an eigenvalue that is kept is negative, damping included.
    """

    def __init__(
        self, curvature: Curvature, damping: float, *, rank: int, iterations: int, seed: int
    ) -> None:
        super().__init__()
        basis, matrix = _iterate(curvature, min(iterations, curvature.size), seed)
        eigenvalues, rotation = torch.linalg.eigh(matrix)
        kept = eigenvalues.abs().argsort(descending=True)[:rank]
        # Nothing is known of directions without curvature; they belong to what is forgotten.
        floor = 1e-10 * float(eigenvalues.abs().max()) if len(kept) else 0.0
        kept = kept[eigenvalues[kept].abs() > floor]
        if len(kept):
            refuse_negative(float(eigenvalues[kept].min()), damping)
        self._values = eigenvalues[kept] + damping
        self._basis = basis @ rotation[:, kept]
        self.report |= {"rank": len(kept), "steps": len(eigenvalues)}
        if len(kept):
            self.report |= {
                "largest eigenvalue": float(eigenvalues[kept].max()),
                "smallest kept": float(eigenvalues[kept].abs().min()),
            }

    def root(self, vectors: Tensor) -> Tensor:
        """Return coordinates in the kept space over the root of the eigenvalues, ``(rank, K)``."""
        inside: Tensor = self._basis.t() @ vectors.to(self._basis.dtype)
        scaled: Tensor = inside * self._values.rsqrt()[:, None]
        return scaled

    def apply(self, vectors: Tensor) -> Tensor:
        """Return ``(H + damping I)^-1 V`` on the kept space, shape ``(P, K)``."""
        found: Tensor = self._basis @ (self.root(vectors) * self._values.rsqrt()[:, None])
        return found


def _iterate(curvature: Curvature, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return an orthonormal basis ``(P, n)`` and H in it ``(n, n)``."""
    vector = curvature.draw(1, seed)
    found: list[Tensor] = []
    diagonal: list[float] = []
    beside: list[float] = []
    length = float(vector.norm())
    largest = 0.0
    for _ in range(steps):
        vector = vector / length
        found.append(vector)
        product = curvature.multiply(vector)
        diagonal.append(float((vector * product).sum()))
        basis = torch.cat(found, 1)
        for _ in range(2):
            product = product - basis @ (basis.t() @ product)
        vector, length = product, float(product.norm())
        largest = max(largest, abs(diagonal[-1]), length)
        if length <= 1e-12 * largest:
            break  # the space is closed: nothing is left outside of it
        beside.append(length)
    inner = torch.tensor(beside[: len(diagonal) - 1], device=curvature.device, dtype=basis.dtype)
    main = torch.tensor(diagonal, device=curvature.device, dtype=basis.dtype)
    matrix = torch.diag(main) + torch.diag(inner, 1) + torch.diag(inner, -1)
    return torch.cat(found, 1), matrix
