"""Arnoldi iteration: the largest eigenvalues, and an inverse on their space alone.

Schioppa et al. 2022 (arXiv:2112.03052), Sec. 3.2. H is symmetric, so the Hessenberg matrix is
tridiagonal (Lanczos); every new vector is made orthogonal to all others twice, because rounding
would let copies of the largest eigenvalue in.

From one vector only one direction of each eigenspace is reached, so an eigenvalue that is there
several times would be found once. Where the space of a first vector is closed, another vector from
outside takes the remaining steps; where it is not, a few steps outside of it show whether something
larger than what is kept was missed, which is warned of.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from tracin_core.curvature.inverse import FactorisedInverse, refuse_negative
from tracin_core.curvature.operator import Curvature

# What is smaller than this share of the largest eigenvalue is rounding, in double precision.
ROUNDING = 1e-12
# Products with H outside of the space that was found, to see what was missed.
CHECK_STEPS = 5
# A missed eigenvalue counts where it is larger than the smallest kept by more than this share.
MARGIN = 0.05


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
        steps = min(iterations, curvature.size)
        basis, matrix, is_closed = find_krylov_space(curvature, steps, seed)
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
            smallest = float(eigenvalues[kept].abs().min())
            self.report |= {
                "largest eigenvalue": float(eigenvalues[kept].max()),
                "smallest kept": smallest,
            }
            if not is_closed:
                self._warn_of_missed(curvature, basis, seed, smallest)

    def _warn_of_missed(
        self, curvature: Curvature, basis: Tensor, seed: int, smallest: float
    ) -> None:
        """Warn where a larger eigenvalue than the smallest kept lies outside of the basis."""
        steps = min(CHECK_STEPS, curvature.size - basis.shape[1])
        _, matrix, _ = find_krylov_space(curvature, steps, seed + 1, outside=basis)
        missed = float(torch.linalg.eigvalsh(matrix).abs().max())
        self.report["largest seen outside"] = missed
        if missed > (1 + MARGIN) * smallest:
            warnings.warn(
                f"The Arnoldi solver kept {self.report['rank']} eigenvalues down to {smallest:.3g} "
                f"and missed one of at least {missed:.3g}: an eigenvalue that is there several "
                "times, or too few iterations. Influences lack its directions. Pass a larger "
                'iterations, a smaller rank, or another solver (solver="cg").',
                RuntimeWarning,
                stacklevel=2,
            )

    def root(self, vectors: Tensor) -> Tensor:
        """Return coordinates in the kept space over the root of the eigenvalues, ``(rank, K)``."""
        inside: Tensor = self._basis.t() @ vectors.to(self._basis.dtype)
        scaled: Tensor = inside * self._values.rsqrt()[:, None]
        return scaled

    def apply(self, vectors: Tensor) -> Tensor:
        """Return ``(H + damping I)^-1 V`` on the kept space, shape ``(P, K)``."""
        found: Tensor = self._basis @ (self.root(vectors) * self._values.rsqrt()[:, None])
        return found


def find_krylov_space(
    curvature: Curvature, steps: int, seed: int, outside: Tensor | None = None
) -> tuple[Tensor, Tensor, bool]:
    """Find a space on which H acts, from a random vector; from further ones where it closes.

    Args:
        curvature: H.
        steps: Products with H, at least one.
        seed: Of the vectors.
        outside: An orthonormal basis ``(P, k)`` that all is kept orthogonal to.

    Returns:
        An orthonormal basis ``(P, n)``, H in it ``(n, n)``, and whether nothing that H acts on is
        left out.
    """
    before = curvature.draw(0, seed) if outside is None else outside
    basis = before
    vector, is_new = _draw_outside(curvature, basis, seed), True
    columns: list[Tensor] = []
    largest, is_closed = 0.0, False
    rounding = max(ROUNDING, 10 * torch.finfo(curvature.dtype).eps)
    while len(columns) < steps and not is_closed:
        basis = torch.cat([basis, vector], 1)
        product = curvature.multiply(vector)
        inside = basis.t() @ product
        columns.append(inside[before.shape[1] :, 0])
        largest = max(largest, float(inside.abs().max()))
        rest = _leave_space(product, basis)
        length = float(rest.norm())
        largest = max(largest, length)
        if length > rounding * largest:
            vector, is_new = rest / length, False
            continue
        # The space is closed. A vector from outside that H takes to nothing has met no curvature.
        is_full = basis.shape[1] == curvature.size
        is_closed = is_full or (is_new and float(inside[-1].abs()) <= rounding * largest)
        if not is_closed:
            seed += 1
            vector, is_new = _draw_outside(curvature, basis, seed), True
    matrix = basis.new_zeros(len(columns), len(columns))
    for index, column in enumerate(columns):
        matrix[: index + 1, index] = matrix[index, : index + 1] = column
    return basis[:, before.shape[1] :], matrix, is_closed


def _draw_outside(curvature: Curvature, basis: Tensor, seed: int) -> Tensor:
    """Return a random vector of length 1, orthogonal to a basis, shape ``(P, 1)``."""
    vector = _leave_space(curvature.draw(1, seed), basis)
    unit: Tensor = vector / vector.norm()
    return unit


def _leave_space(vector: Tensor, basis: Tensor) -> Tensor:
    """Return what of a vector is orthogonal to a basis; twice, because of rounding."""
    for _ in range(2):
        vector = vector - basis @ (basis.t() @ vector)
    return vector
