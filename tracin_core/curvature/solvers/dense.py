"""The reference: the whole matrix, its eigenvalues, and an exact solution."""

from __future__ import annotations

import torch
from torch import Tensor

from tracin_core.curvature.inverse import FactorisedInverse, refuse_negative
from tracin_core.curvature.operator import Curvature
from tracin_core.errors import ConfigurationError

# 4,096 squared numbers take 134 MB, and their eigenvalues half a minute on two cores.
MAX_DENSE = 4096


class DenseInverse(FactorisedInverse):
    """The exact inverse, from the eigenvalues of the whole matrix in float64.

    Args:
        curvature: H, of at most 4,096 parameters.
        damping: Added to every eigenvalue.

    Raises:
        ConfigurationError: If there are more parameters, or the sum has a negative eigenvalue.
    """

    def __init__(self, curvature: Curvature, damping: float) -> None:
        super().__init__()
        if curvature.size > MAX_DENSE:
            raise ConfigurationError(
                f"Found {curvature.size:,} parameters for a dense solution; expected at most "
                f"{MAX_DENSE:,}, because the matrix has that number squared. Choose "
                "solver='ekfac', 'arnoldi' or 'cg', or fewer layers."
            )
        eye = torch.eye(curvature.size, device=curvature.device, dtype=curvature.dtype)
        blocks = [curvature.multiply(columns.t()) for columns in torch.split(eye, 256)]
        matrix = torch.cat(blocks, 1).double() if blocks else eye
        eigenvalues, self._vectors = torch.linalg.eigh((matrix + matrix.t()) / 2)
        refuse_negative(float(eigenvalues.min()), damping)
        self._roots = (eigenvalues + damping).rsqrt()
        condition = float((eigenvalues.max() + damping) / (eigenvalues.min() + damping))
        self.report |= {"condition number": condition, "residual": 0.0}

    def root(self, vectors: Tensor) -> Tensor:
        """Return ``(H + damping I)^(-1/2) V`` in the basis of the eigenvectors, ``(P, K)``."""
        rotated: Tensor = self._vectors.t() @ vectors.double()
        scaled: Tensor = self._roots[:, None] * rotated
        return scaled

    def apply(self, vectors: Tensor) -> Tensor:
        """Return ``(H + damping I)^-1 V``, shape ``(P, K)``."""
        found: Tensor = self._vectors @ (self._roots[:, None] * self.root(vectors))
        return found
