"""What the Arnoldi solver finds where eigenvalues are there several times."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tracin_core.curvature.operator import Curvature
from tracin_core.curvature.solvers.arnoldi import ArnoldiInverse


class KnownCurvature(Curvature):
    """A matrix of known eigenvalues in a random basis."""

    def __init__(self, eigenvalues: Sequence[float]) -> None:
        size = len(eigenvalues)
        generator = torch.Generator().manual_seed(3)
        numbers = torch.randn(size, size, generator=generator, dtype=torch.float64)
        self.axes = torch.linalg.qr(numbers).Q
        self.matrix = (
            self.axes @ torch.tensor(eigenvalues, dtype=torch.float64).diag() @ self.axes.T
        )
        self.size, self.num_examples = size, 1
        self.device, self.dtype = torch.device("cpu"), torch.float64

    @property
    def batch_sizes(self) -> Sequence[int]:
        return [1]

    def _multiply_batch(self, index: int, vectors: Tensor) -> Tensor:
        return self.matrix @ vectors


def invert(eigenvalues: Sequence[float], *, rank: int, iterations: int):
    curvature = KnownCurvature(eigenvalues)
    return curvature, ArnoldiInverse(curvature, 0.1, rank=rank, iterations=iterations, seed=0)


@pytest.mark.parametrize("eigenvalues", [[5, 5, 5, 2, 2, 1, 0, 0], [3.0] * 6, [4, 4, 0, 0, 0]])
def test_repeated_eigenvalues_are_all_found_where_the_space_closes(eigenvalues):
    curvature, inverse = invert(eigenvalues, rank=8, iterations=8)
    assert inverse.report["rank"] == sum(value > 0 for value in eigenvalues)
    rows = curvature.matrix @ torch.eye(len(eigenvalues), dtype=torch.float64)
    damped = curvature.matrix + 0.1 * torch.eye(len(rows), dtype=torch.float64)
    torch.testing.assert_close(
        inverse.apply(rows), torch.linalg.solve(damped, rows), rtol=1e-9, atol=1e-9
    )


def test_no_more_products_are_taken_than_asked_for():
    _, inverse = invert([5, 5, 5, 5, 5, 5], rank=3, iterations=3)
    assert inverse.report["steps"] == 3


def test_a_missed_copy_of_a_large_eigenvalue_is_warned_of():
    eigenvalues = [50, 50, *(1 + 0.01 * step for step in range(60))]
    with pytest.warns(RuntimeWarning, match=r"missed one of at least .* several times"):
        invert(eigenvalues, rank=2, iterations=5)


def test_nothing_is_said_where_the_largest_are_all_there():
    eigenvalues = [50, 40, 30, *(1 + 0.01 * step for step in range(60))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, inverse = invert(eigenvalues, rank=3, iterations=20)
    assert inverse.report["largest seen outside"] < 2
