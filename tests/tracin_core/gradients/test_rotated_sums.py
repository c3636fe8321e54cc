"""What a GPU adds up in few steps is what the loop on the CPU adds up one run at a time."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from tracin_core import Projection
from tracin_core.projection.sketch import ParameterHash, Sketch, make_hashes

# Sums of some dozen products of numbers of size one, in another order: rounding only.
ROUNDING = {torch.float64: 1e-12, torch.float32: 2e-5}


def make_hash(shape: tuple[int, ...], dim: int, seed: int, dtype: torch.dtype) -> ParameterHash:
    projection = Projection(dim=dim, seed=seed)
    shapes = {"weight": torch.Size(shape)}
    return make_hashes(projection, 0, shapes, torch.device("cpu"), dtype)["weight"]


def rotate(sketch: Sketch, hashes: ParameterHash, gradients: Tensor, first: int = 0) -> None:
    """Add gradients as ``add_dense`` does on a GPU."""
    matrix = gradients.reshape(len(gradients), hashes.rows, hashes.columns)
    if not hashes.columns_are_long:
        matrix = matrix.transpose(1, 2)
    sketch._add_rotated(matrix, *hashes.long_and_short, first)


def close(dtype: torch.dtype) -> dict[str, Any]:
    return {"rtol": ROUNDING[dtype], "atol": ROUNDING[dtype]}


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 12), min_size=0, max_size=3).map(tuple),
    dim=st.integers(1, 40),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_rotated_sums_are_those_of_the_loop(
    dtype: torch.dtype, shape: tuple[int, ...], dim: int, sizes: list[int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(size, *shape, generator=generator).to(dtype) for size in sizes]
    hashes = make_hash(shape, dim, seed, dtype)
    loop, rotated = (Sketch(dim, {"weight": hashes}, sum(sizes)) for _ in range(2))
    first = 0
    for part in parts:
        before = part.clone()
        loop.add_dense("weight", part, first)
        rotate(rotated, hashes, part, first)
        assert torch.equal(part, before)  # the caller's gradients stay as they are
        first += len(part)
    expected, found = loop.finish(), rotated.finish()
    assert expected is not None
    assert found is not None
    torch.testing.assert_close(found, expected, **close(dtype))


@pytest.mark.parametrize(
    ("shape", "dim"),
    [((5, 7), 16), ((5, 16), 16), ((5, 17), 16), ((40, 50), 16), ((50, 9), 16), ((50,), 16)],
)
def test_every_number_goes_to_its_own_place_with_its_own_sign(
    shape: tuple[int, ...], dim: int
) -> None:
    size = torch.Size(shape).numel()
    units = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    hashes = make_hash(shape, dim, 0, torch.float64)
    hashes.scale(3.0)  # as the root of a learning rate does
    sketch = Sketch(dim, {"weight": hashes}, size)
    rotate(sketch, hashes, units)
    found = sketch.finish()
    assert found is not None
    rows, columns = hashes.row_hash, hashes.column_hash
    places = (rows.positions.unsqueeze(1) + columns.positions).flatten() % dim
    factors = (rows.factors.unsqueeze(1) * columns.factors).flatten()
    expected = torch.zeros(size, dim, dtype=torch.float64)
    expected[torch.arange(size), places] = factors
    assert torch.equal(found, expected)


def test_what_is_rotated_is_added_to_what_is_there() -> None:
    hashes = make_hash((6, 30), 16, 0, torch.float64)
    gradients = torch.randn(2, 6, 30, generator=torch.Generator().manual_seed(0)).double()
    once, twice = (Sketch(16, {"weight": hashes}, 2) for _ in range(2))
    rotate(once, hashes, gradients)
    for _ in range(2):
        rotate(twice, hashes, gradients)
    single, double = once.finish(), twice.finish()
    assert single is not None
    assert double is not None
    torch.testing.assert_close(double, 2 * single, **close(torch.float64))
