"""The benchmark of costs tells a rule from a fallback, and names what costs too much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks.costs.__main__ import make_table
from benchmarks.costs.everything import NETWORKS
from benchmarks.costs.measure import Cost, measure_cost
from benchmarks.costs.subject import CLASSES, Costed, register


@pytest.fixture
def small() -> Iterator[str]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    register(
        "nowhere",
        "small",
        lambda: Costed(nn.Sequential(nn.Linear(4, CLASSES)), (torch.randn(8, 4),), 4),
    )
    yield "small"
    del NETWORKS["small"]
    torch.set_num_threads(threads)


def test_a_network_is_measured(small: str) -> None:
    cost = measure_cost(small, peers=False)
    assert (cost.parameters, cost.examples, cost.batch) == (50, 8, 4)
    assert (cost.rules, cost.fallback) == (1, "")
    assert cost.error < 1e-5
    assert cost.first > 0 < cost.later
    assert math.isnan(cost.captum)


def test_what_costs_too_much_or_failed_is_named() -> None:
    cheap = Cost("cheap", "torch", 10, 8, 4, 1.0, "", 2.0, 1.25, 9.0, 1e-7, 1e-6)
    dear = replace(cheap, name="dear", later=2.5, fallback="torch.func")
    broken = Cost("broken", "timm", detail="ended its process with code -9")
    told, rows = make_table([cheap, dear, broken]).split("\n\n")
    assert told.endswith("3 networks, above 2: dear, broken.")
    assert "| 2.0 | **1.25** | 9.0 | 1e-07 | 1e-06 |" in rows
    assert "– ended its process with code -9" in rows


def test_every_family_that_is_common_is_there() -> None:
    assert {"LSTM", "packed GRU", "Swin tiny", "T5", "Mixtral", "Wav2Vec2"} <= set(NETWORKS)
