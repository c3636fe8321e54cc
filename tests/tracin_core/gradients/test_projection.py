"""However a gradient comes, its projection is that of the whole gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tracin_core import Projection
from tracin_core.errors import ConfigurationError
from tracin_core.gradients.factored import BagGradients, Contribution, Dense, Outer, SparseRows
from tracin_core.gradients.rules.conv import Kernel
from tracin_core.projection.sketch import Sketch, make_hashes

DIM = 16


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def outer(positions: int, rows: int, columns: int) -> Outer:
    return Outer(
        randn(3, positions, rows), randn(3, positions, columns), torch.Size((rows, columns))
    )


def rows(table: int, width: int) -> SparseRows:
    indices = torch.randint(table, (3, 5), generator=torch.Generator().manual_seed(0))
    return SparseRows(indices, randn(3, 5, width), torch.Size((table, width)))


def bags(table: int, width: int) -> BagGradients:
    indices = torch.randint(min(table, 6), (3, 5), generator=torch.Generator().manual_seed(0))
    return BagGradients(indices, randn(3, 5), randn(3, width), torch.Size((table, width)))


def kernel(groups: int, space: int) -> Kernel:
    layer = nn.Conv2d(20, 24, 3, groups=groups)
    inputs, deltas = randn(3, 20, space, space), randn(3, 24, space - 2, space - 2)
    return Kernel(inputs, deltas, layer, layer.weight.shape)


CONTRIBUTIONS: dict[str, Contribution] = {
    "outer, both axes short": outer(1, 5, 7),
    "outer, long columns": outer(1, 9, 50),
    "outer, long rows": outer(1, 50, 9),
    "outer, both axes long": outer(1, 40, 50),
    "outer, several positions": outer(4, 40, 50),
    "outer, no position": outer(0, 40, 50),
    "rows of a small table": rows(6, 4),
    "rows of a large table": rows(90, 20),
    "rows wider than the table": rows(5, 40),
    "bags of a small table": bags(6, 4),
    "bags of a large table": bags(400, 20),
    "kernel": kernel(1, 6),
    "kernel of groups": kernel(2, 6),
    "kernel, one position": kernel(1, 3),
    "vector": Dense(randn(3, 50), torch.Size((50,))),
    "scalar": Dense(randn(3), torch.Size(())),
}


def project(contribution: Contribution, dim: int = DIM, seed: int = 0) -> Tensor:
    hashes = make_hashes(
        Projection(dim=dim, seed=seed),
        0,
        {"weight": contribution.shape},
        torch.device("cpu"),
        torch.float64,
    )
    sketch = Sketch(dim, hashes, contribution.batch_size)
    contribution.add_to_sketch(sketch, "weight")
    result = sketch.finish()
    assert result is not None
    return result


@pytest.mark.parametrize("name", CONTRIBUTIONS)
@pytest.mark.parametrize("dim", [1, 15, 16, 64])
def test_factored_projection_is_that_of_the_whole_gradient(name: str, dim: int) -> None:
    contribution = CONTRIBUTIONS[name]
    whole = Dense(contribution.instantiate(), contribution.shape)
    torch.testing.assert_close(project(contribution, dim), project(whole, dim))


@pytest.mark.parametrize("name", CONTRIBUTIONS)
def test_factored_norm_is_that_of_the_whole_gradient(name: str) -> None:
    contribution = CONTRIBUTIONS[name]
    whole = Dense(contribution.instantiate(), contribution.shape)
    torch.testing.assert_close(contribution.squared_norms(), whole.squared_norms())


@pytest.mark.parametrize("shape", [(6, 30), (30, 6), (20, 20), (50,)])
def test_dot_products_are_unbiased(shape: tuple[int, ...]) -> None:
    gradients = Dense(randn(3, *shape), torch.Size(shape))
    exact = gradients.gradients.flatten(1) @ gradients.gradients.flatten(1).T
    scale = exact.diagonal().sqrt()
    estimates = torch.stack([project(gradients, seed=s) for s in range(300)])
    errors = (estimates @ estimates.mT - exact) / torch.outer(scale, scale)
    bound = 4 * Projection(dim=DIM).expected_error / 300**0.5
    assert errors.mean(0).abs().max() < bound


def test_every_entry_of_the_map_is_plus_or_minus_one_in_one_place() -> None:
    units = Dense(torch.eye(60, dtype=torch.float64).reshape(60, 6, 10), torch.Size((6, 10)))
    assert torch.equal(project(units).abs().sum(1), torch.ones(60, dtype=torch.float64))


def test_parameters_and_checkpoints_have_maps_of_their_own() -> None:
    shapes = {"a": torch.Size((8, 8)), "b": torch.Size((8, 8))}
    first, second = (
        make_hashes(Projection(), index, shapes, torch.device("cpu"), torch.float32)
        for index in range(2)
    )
    factors = [first["a"], first["b"], second["a"]]
    signs = {
        tuple((h.row_hash.factors.outer(h.column_hash.factors)).flatten().tolist()) for h in factors
    }
    assert len(signs) == 3


@pytest.mark.parametrize("options", [{"dim": 0}, {"kind": "gaussian"}])
def test_projections_that_cannot_work_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        Projection(**options)  # type: ignore[arg-type]
