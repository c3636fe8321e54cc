"""The k best, test sets, other losses, cosines and shares by module agree with influence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from tests.oracles import EXACT
from tracin_core import Checkpoint, Projection, SearchResult, TracIn, build_index, queries
from tracin_core.capture.batching import read_batches
from tracin_core.errors import ConfigurationError

Data = tuple[Tensor, Tensor]


def hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.multi_margin_loss(outputs, targets, reduction="none")


def make(
    rates: tuple[Any, ...] = (0.1, 0.3), batch_size: int = 6, **options: Any
) -> tuple[TracIn, Data, Data]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    weights = model.state_dict()
    moved = [
        Checkpoint({k: v + torch.randn_like(v) for k, v in weights.items()}, learning_rate=rate)
        for rate in rates
    ]
    inputs, labels = torch.randn(20, 4).double(), torch.arange(20) % 3
    tests = torch.randn(7, 4).double(), torch.arange(7) % 3
    return TracIn(model, moved, batch_size=batch_size, **options), (inputs, labels), tests


@pytest.mark.parametrize("k", [1, 4, 20, 50])
@pytest.mark.parametrize("side", ["proponents", "opponents"])
def test_the_k_best_are_those_of_all(k: int, side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracin, train, _ = make(batch_size=256)
    torch.manual_seed(1)
    many = torch.randn(70, 4).double(), torch.arange(70) % 3
    scores = tracin.influence(train, many)
    order = scores.sort(dim=0, descending=side == "proponents", stable=True)
    # As if a block of 64 test examples were all that memory holds.
    monkeypatch.setattr(queries, "HELD_INFLUENCES", 1)
    found = getattr(tracin, side)(train, many, k)
    assert isinstance(found, SearchResult)
    assert np.array_equal(found.indices, order.indices[:k].T)
    np.testing.assert_allclose(found.scores, order.values[:k].T, rtol=1e-12)


def test_the_engine_and_an_index_return_the_same_kind_of_result() -> None:
    tracin, train, tests = make()
    index = build_index(tracin.vectors(train).float().numpy())
    there = index.search(tracin.vectors(tests).numpy(), k=3, side="opponents")
    here = tracin.opponents(train, tests, 3)
    assert type(here) is type(there)
    assert np.array_equal(here.indices, there.indices)
    cosines = tracin.proponents(train, tests, 3, normalise="cosine")
    searched = index.search(tracin.vectors(tests).numpy(), k=3, measure="cosine")
    np.testing.assert_allclose(cosines.scores, searched.scores, atol=1e-6)


def test_of_equal_influences_the_first_comes_first() -> None:
    tracin, train, tests = make()
    twice = tuple(torch.cat([tensor, tensor]) for tensor in train)
    found = tracin.proponents(twice, tests, 6).indices
    assert np.array_equal(found[:, ::2] + 20, found[:, 1::2])


@pytest.mark.parametrize("size", [1, 3, 7, 64])
def test_examples_are_cut_as_they_came(size: int) -> None:
    _, _, (inputs, labels) = make()
    rows = list(zip(inputs, labels, strict=True))
    forms = [rows, (inputs, labels), TensorDataset(inputs, labels), DataLoader(rows, 2)]
    for form in forms:
        parts = list(queries.cut_examples(form, size))
        assert len(parts) == -(-7 // size)
        batches = [batch for part in parts for batch in read_batches(part, 2)]
        assert torch.equal(torch.cat([batch.inputs for batch in batches]), inputs)
        assert torch.equal(torch.cat([batch.targets for batch in batches]), labels)


def test_nothing_asked_is_nothing_found() -> None:
    tracin, train, _ = make()
    assert tracin.proponents(train, [], 3).indices.shape == (0, 3)
    assert tracin.proponents([], train, 3).scores.shape == (20, 0)
    for k in (0, 2.5, True, None):
        with pytest.raises(ConfigurationError, match=f"k={k}"):
            tracin.opponents(train, train, k)


RATES = [(0.1, 0.3), ({"0": 0.5, "": 0.1}, 0.2)]


@pytest.mark.parametrize("rates", RATES, ids=["common", "by parameter"])
@pytest.mark.parametrize("layers", ["all", "last", ["0"]])
def test_the_influence_on_a_set_is_the_sum(rates: tuple[Any, ...], layers: Any) -> None:
    tracin, train, tests = make(rates, layers=layers)
    scores = tracin.influence(train, tests)
    whole = tracin.influence(train, tests, aggregate=True)
    torch.testing.assert_close(whole, scores.sum(1), **EXACT)
    best = tracin.proponents(train, tests, 3, aggregate=True)
    assert best.indices.tolist() == whole.topk(3).indices.tolist()
    summed = tracin.vectors(tests).sum(0)
    vectors = tracin.vectors(train)
    expected = functional.cosine_similarity(vectors, summed[None])
    found = tracin.influence(train, tests, aggregate=True, normalise="cosine")
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("aggregate", [False, True])
@pytest.mark.parametrize("layers", ["all", "last"])
def test_the_test_examples_may_have_another_loss(aggregate: bool, layers: str) -> None:
    tracin, train, tests = make(layers=layers)
    other = tracin.derive(loss=hinge).vectors(tests)
    expected = tracin.vectors(train) @ other.T
    found = tracin.influence(train, tests, test_loss=hinge, aggregate=aggregate)
    torch.testing.assert_close(found, expected.sum(1) if aggregate else expected, **EXACT)


@pytest.mark.parametrize("explain", ["loss", "score"])
def test_influences_are_divided_by_lengths(explain: Any) -> None:
    tracin, train, tests = make()
    left, right = tracin.vectors(train), tracin.vectors(tests, explain=explain)
    unit = left / left.norm(dim=1, keepdim=True)
    found = tracin.influence(train, tests, normalise="relatif", explain=explain)
    torch.testing.assert_close(found, unit @ right.T, **EXACT)
    found = tracin.influence(train, tests, normalise="cosine", explain=explain)
    torch.testing.assert_close(found, unit @ (right / right.norm(dim=1, keepdim=True)).T, **EXACT)
    with pytest.raises(ConfigurationError, match="normalise='length'"):
        tracin.influence(train, tests, normalise="length")  # type: ignore[arg-type]


def test_an_example_without_a_gradient_has_the_cosine_0() -> None:
    own = torch.tensor([0.0, 4.0])
    found = queries.divide_by_lengths(torch.tensor([[0.0], [6.0]]), own, torch.tensor([9.0]))
    assert found.tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("rates", RATES, ids=["common", "by parameter"])
def test_shares_of_modules_add_up(rates: tuple[Any, ...]) -> None:
    tracin, train, tests = make(rates)
    own = tracin.self_influence_by_module(train)
    between = tracin.influence_by_module(train, tests)
    assert [*own] == [*between] == ["0", "2"]
    torch.testing.assert_close(sum(own.values()), tracin.self_influence(train), **EXACT)
    torch.testing.assert_close(sum(between.values()), tracin.influence(train, tests), **EXACT)
    only = tracin.derive(layers=["0"])
    torch.testing.assert_close(own["0"], only.self_influence(train), **EXACT)


def test_projections_are_still_those_of_the_whole() -> None:
    tracin, train, _ = make()
    vectors = tracin.vectors(train, Projection(4))
    torch.testing.assert_close(tracin.derive().vectors(train, Projection(4)), vectors)
