"""Projection by random matrices: one dense matrix, or the two factors of the paper.

Dense: every entry of a ``(P, D)`` matrix is drawn, so nothing but its size stands against it.
Factored (paper arXiv:2002.08484v3, Appendix F): a gradient seen as a matrix ``(R, K)`` is
multiplied from both sides, ``left^T gradient right``, with ``r1 r2 = D``. That costs little, and
its relative variance on rank-one gradients is ``(1 + 2/r1)(1 + 2/r2) - 1``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from tracin_core.errors import ConfigurationError
from tracin_core.gradients.factored import BagGradients, Contribution, Outer, SparseRows, split
from tracin_core.gradients.precision import widen
from tracin_core.projection.config import Projection, make_generator
from tracin_core.projection.sketch import Sketch

# Numbers in the dense matrices of one checkpoint: 256 MB in single precision.
DENSE_NUMBERS = 64_000_000


class DenseMatrix:
    """The matrix of one parameter of one checkpoint, shape ``(P, D)``."""

    def __init__(
        self, name: str, shape: torch.Size, projection: Projection, checkpoint: int
    ) -> None:
        generator = make_generator(name, projection, checkpoint)
        self.shape = shape
        self.matrix = _draw(shape.numel(), projection.dim, projection, generator)

    def to(self, device: torch.device, dtype: torch.dtype) -> DenseMatrix:
        """Move the matrix to where gradients are."""
        self.matrix = self.matrix.to(device, dtype)
        return self

    def scale(self, factor: float) -> None:
        """Multiply all that is projected by a factor."""
        self.matrix = self.matrix * factor


class FactorPair:
    """The two factors of one parameter of one checkpoint, ``(R, r1)`` and ``(K, r2)``.

    A vector has one row, so its second factor is a dense matrix.
    """

    def __init__(
        self, name: str, shape: torch.Size, projection: Projection, checkpoint: int
    ) -> None:
        generator = make_generator(name, projection, checkpoint)
        self.rows = shape[0] if len(shape) > 1 else 1
        self.columns = shape.numel() // max(1, self.rows)
        first, second = projection.factor_sizes if self.rows > 1 else (1, projection.dim)
        self.left = torch.ones(1, 1)
        if self.rows > 1:
            self.left = _draw(self.rows, first, projection, generator)
        self.right = _draw(self.columns, second, projection, generator)

    def to(self, device: torch.device, dtype: torch.dtype) -> FactorPair:
        """Move the factors to where gradients are."""
        self.left, self.right = self.left.to(device, dtype), self.right.to(device, dtype)
        return self

    def scale(self, factor: float) -> None:
        """Multiply all that is projected by a factor."""
        self.left = self.left * factor


class DenseSketch(Sketch):
    """Projections of one batch by dense matrices; gradients are formed a few at a time."""

    def __init__(self, dim: int, maps: Mapping[str, DenseMatrix], batch_size: int) -> None:
        super().__init__(dim, {}, batch_size)
        self._maps = maps
        self._total: Tensor | None = None

    def add_dense(self, name: str, gradients: Tensor, first: int = 0) -> None:
        """Add whole gradients ``(b, *shape)`` of the examples from ``first`` on."""
        projected = gradients.reshape(len(gradients), -1) @ self._maps[name].matrix
        self._add(projected, first)

    def add_outer(self, name: str, deltas: Tensor, inputs: Tensor, first: int = 0) -> None:
        """Add sums of outer products, ``(b, T, R)`` and ``(b, T, K)``, from ``first`` on."""
        shape = torch.Size((deltas.shape[2], inputs.shape[2]))
        self._add_parts(name, Outer(deltas, inputs, shape), first)

    def prefers_transform(self, name: str, positions: int) -> bool:
        """Never: a dense matrix needs the whole gradient."""
        return False

    def add_rows(self, name: str, indices: Tensor, deltas: Tensor) -> None:
        """Add rows of a table: ``indices`` ``(B, T)`` and what reaches them ``(B, T, K)``."""
        self._add_parts(name, SparseRows(indices, deltas, self._maps[name].shape), 0)

    def add_bags(self, name: str, indices: Tensor, weights: Tensor, deltas: Tensor) -> None:
        """Add outer products of rows picked with ``weights``, ``(B, T)``, and ``(B, K)``."""
        self._add_parts(name, BagGradients(indices, weights, deltas, self._maps[name].shape), 0)

    def finish(self) -> Tensor | None:
        """Return the projected vectors, shape ``(B, D)``; ``None`` if nothing was added."""
        return self._total

    def _add_parts(self, name: str, contribution: Contribution, first: int) -> None:
        for part in split(contribution):
            self.add_dense(name, part.instantiate(), first)
            first += part.batch_size

    def _add(self, projected: Tensor, first: int) -> None:
        if self._total is None:
            self._total = projected.new_zeros(self._batch_size, self._dim)
        self._total[first : first + len(projected)] += projected


class FactoredSketch(DenseSketch):
    """Projections of one batch by pairs of factors; factored gradients are never formed."""

    def __init__(self, dim: int, pairs: Mapping[str, FactorPair], batch_size: int) -> None:
        super().__init__(dim, {}, batch_size)
        self._pairs = pairs

    def add_dense(self, name: str, gradients: Tensor, first: int = 0) -> None:
        """Add whole gradients ``(b, *shape)`` of the examples from ``first`` on."""
        if not gradients.numel():
            return  # as of a layer without outputs
        pair = self._pairs[name]
        matrices = gradients.reshape(len(gradients), pair.rows, pair.columns)
        self._add((pair.left.T @ (matrices @ pair.right)).flatten(1), first)

    def add_outer(self, name: str, deltas: Tensor, inputs: Tensor, first: int = 0) -> None:
        """Add sums of outer products, ``(b, T, R)`` and ``(b, T, K)``, from ``first`` on."""
        pair = self._pairs[name]
        deltas, inputs = widen((deltas, inputs))
        shortened = torch.bmm((deltas @ pair.left).mT, inputs @ pair.right)
        self._add(shortened.flatten(1), first)

    def prefers_transform(self, name: str, positions: int) -> bool:
        """Return whether T outer products cost less when shortened first than when summed first."""
        pair = self._pairs[name]
        first, second = pair.left.shape[1], pair.right.shape[1]
        shortened = pair.rows * first + pair.columns * second + first * second
        whole = pair.rows * pair.columns
        return positions * shortened <= positions * whole + whole * second

    def add_rows(self, name: str, indices: Tensor, deltas: Tensor) -> None:
        """Add rows of a table: ``indices`` ``(B, T)`` and what reaches them ``(B, T, K)``."""
        pair = self._pairs[name]
        picked = pair.left[indices] if pair.rows > 1 else pair.left.expand(*indices.shape, 1)
        self._add(torch.bmm(picked.mT, deltas @ pair.right).flatten(1), 0)

    def add_bags(self, name: str, indices: Tensor, weights: Tensor, deltas: Tensor) -> None:
        """Add outer products of rows picked with ``weights``, ``(B, T)``, and ``(B, K)``."""
        self.add_rows(name, indices, weights.unsqueeze(2) * deltas.unsqueeze(1))


def refuse_large_matrices(projection: Projection, shapes: Mapping[str, torch.Size]) -> None:
    """Check that dense matrices stay small.

    Raises:
        ConfigurationError: If they would hold more than 64 million numbers a checkpoint.
    """
    numbers = sum(shape.numel() for shape in shapes.values())
    if numbers * projection.dim > DENSE_NUMBERS:
        raise ConfigurationError(
            f"Found a dense projection of {numbers} parameters to {projection.dim} numbers; "
            f"expected matrices of at most {DENSE_NUMBERS} numbers. Use form='sketch', which "
            "has the same error and no matrix, or choose fewer layers."
        )


def _draw(size: int, dim: int, projection: Projection, generator: torch.Generator) -> Tensor:
    """Return a random matrix with ``E[matrix matrix^T] = I``, shape ``(size, dim)``."""
    if projection.kind == "gaussian":
        matrix = torch.randn(size, dim, generator=generator)
    else:
        matrix = torch.randint(2, (size, dim), generator=generator) * 2.0 - 1.0
    return matrix / math.sqrt(dim)
