"""Products of kept gradients are those of the whole gradients, whatever form they are kept in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests import oracles
from tracin_core.gradients import products
from tracin_core.gradients.factored import Chunks, Contribution, Dense, Outer, SparseRows
from tracin_core.gradients.products import KeptUses, dot_products, join_kept, keep_uses
from tracin_core.gradients.rules.conv import Kernel


def make_kernel(size: int, channels: int, width: int, groups: int = 1) -> Kernel:
    layer = nn.Conv2d(channels, 2 * channels, 3, padding=1, groups=groups).double()
    inputs = torch.randn(size, channels, width, width).double()
    return Kernel(inputs, torch.randn_like(layer(inputs)), layer, layer.weight.shape)


def make_outer(size: int, positions: int, rows: int = 6, columns: int = 9) -> Outer:
    deltas, inputs = torch.randn(size, positions, rows), torch.randn(size, positions, columns)
    return Outer(deltas.double(), inputs.double(), torch.Size((rows, columns)))


def make_rows(size: int, positions: int) -> SparseRows:
    indices = torch.randint(0, 40, (size, positions))
    return SparseRows(indices, torch.randn(size, positions, 5).double(), torch.Size((40, 5)))


def form(uses: list[Contribution]) -> Tensor:
    return sum(use.instantiate().flatten(1) for use in uses)


# What two batches bring, the forms in which they are kept, and how many runs are left of them.
KEPT = {
    "one position": ([make_outer(3, 1)], [make_outer(4, 1)], Outer, 1),
    "few positions of a wide layer": (
        [make_outer(3, 2, 40, 50)],
        [make_outer(4, 2, 40, 50)],
        Outer,
        1,
    ),
    "no position": ([make_outer(3, 0)], [make_outer(4, 1)], Outer, 2),
    "many positions": ([make_outer(3, 8)], [make_outer(4, 8)], Dense, 1),
    "texts of different lengths": ([make_rows(3, 4)], [make_rows(4, 7)], SparseRows, 2),
    "a small image": ([make_kernel(3, 8, 1)], [make_kernel(4, 8, 1)], Outer, 1),
    "a large image": ([make_kernel(3, 2, 9)], [make_kernel(4, 2, 9)], Dense, 1),
    "a wide image layer": ([make_kernel(3, 12, 4)], [make_kernel(4, 12, 4)], Kernel, 2),
    "groups": ([make_kernel(3, 4, 3, 2)], [make_kernel(4, 4, 3, 2)], Kernel, 2),
    "two uses": (
        [make_outer(3, 1), make_outer(3, 9)],
        [make_outer(4, 9), make_outer(4, 1)],
        Dense,
        1,
    ),
}


@pytest.mark.parametrize("case", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("is_whole", [False, True])
def test_kept_gradients_give_the_products_of_whole_ones(case, is_whole: bool) -> None:
    first, second, kind, runs = case
    kept = [keep_uses(slice(0, 3), first, 50), keep_uses(slice(3, 7), second, 50)]
    assert type(kept[0].uses[0]) is kind
    if is_whole:
        kept = [one.make_ready() for one in kept]
    joined = join_kept(kept)
    assert len(joined) == (1 if is_whole and kind is Kernel else runs)
    for train in (first, second):
        found = torch.cat([dot_products(train, one.uses) for one in joined], 1)
        expected = form(train) @ torch.cat([form(first), form(second)]).T
        torch.testing.assert_close(found, expected, **oracles.EXACT)


def test_long_sides_are_cut_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "WHOLE_NUMBERS", 2 * 6 * 9)
    first, second = make_outer(7, 30), make_outer(5, 30)
    expected = form([first]) @ form([second]).T
    torch.testing.assert_close(dot_products([first], [second]), expected, **oracles.EXACT)


@pytest.mark.parametrize("partners", ["whole", "factors"])
def test_gradients_formed_in_runs_have_the_same_products(
    partners: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = Chunks(patches=100, gradients=100, transforms=1, sums=1)
    monkeypatch.setattr(products, "choose_chunks", lambda device: tight)
    monkeypatch.setattr(products, "LEAST_RUN", 2)
    formed: list[int] = []
    form_once = products.instantiate
    monkeypatch.setattr(
        products, "instantiate", lambda uses: formed.append(uses[0].batch_size) or form_once(uses)
    )
    first, second = make_kernel(7, 3, 5), make_kernel(5, 3, 5)
    right = Dense(second.instantiate(), second.shape) if partners == "whole" else second
    expected = form([first]) @ form([second]).T
    torch.testing.assert_close(dot_products([first], [right]), expected, **oracles.EXACT)
    assert formed == [5, 2, 2, 2, 1]


def test_a_parameter_without_numbers_has_products_of_zero() -> None:
    first, second = make_outer(3, 2, 0), make_outer(4, 2, 0)
    ready = KeptUses(slice(0, 4), [second], False).make_ready()
    assert torch.equal(dot_products([first], ready.uses), torch.zeros(3, 4, dtype=torch.float64))


def test_what_does_not_follow_is_not_joined() -> None:
    apart = [KeptUses(slice(s, s + 2), [make_outer(2, 1)], True) for s in (0, 2, 6)]
    assert [one.columns for one in join_kept(apart)] == [slice(0, 4), slice(6, 8)]


def test_what_is_kept_holds_no_more_than_whole_gradients() -> None:
    for first, _, _, _ in KEPT.values():
        kept = keep_uses(slice(0, 3), first, 50)
        # Indices of rows are as wide as float64.
        assert kept.nbytes <= 3 * first[0].shape.numel() * 8
        assert kept.whole_nbytes == 3 * first[0].shape.numel() * 8
