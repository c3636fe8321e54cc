"""Larger passes for plain chains of products: when, how large, and with the same scores."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from tests import oracles
from tests.tracin_core.capture.test_head import Scaled
from tracin_core import Checkpoint, TracIn
from tracin_core.capture import batch_size
from tracin_core.capture.batch_size import BatchSizes, Budget, choose_budget, count_chain_numbers
from tracin_core.gradients.plan import Plan

PLENTY = Budget(4_000_000, 4_000_000)


def make_chain() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 3))


def test_only_a_plain_chain_of_products_counts():
    assert count_chain_numbers(make_chain(), 6) == 6 + 40 + 3
    assert count_chain_numbers(nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten()), 6) is None
    assert count_chain_numbers(nn.Flatten(), 6) is None
    assert count_chain_numbers(Scaled(), 6) is None


def test_a_sequence_counts_at_every_position():
    chain = nn.Sequential(nn.Linear(8, 5), nn.Flatten(), nn.Linear(50, 3))
    assert count_chain_numbers(chain, 80) == 80 + 10 * (5 + 3)


def test_what_the_fallback_computes_is_not_joined():
    plan = Plan((), fallback=("0.weight",))
    assert BatchSizes(make_chain(), plan, 16, 6, PLENTY).full_pass == 16
    assert BatchSizes(make_chain(), Plan(()), 16, 6, PLENTY).full_pass > 1000


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_joined_passes_give_the_same_numbers(monkeypatch, loss):
    torch.manual_seed(0)
    model = make_chain() if loss == "cross_entropy" else nn.Linear(6, 3)
    model = model.double()
    targets = torch.randint(3, (50,)) if loss == "cross_entropy" else torch.randn(50, 3).double()
    examples = TensorDataset(torch.randn(50, 6).double(), targets)
    checkpoints = [Checkpoint(model.state_dict(), learning_rate=0.1)]
    sizes: list[int] = []
    found = []
    held = count_chain_numbers(model, 6)
    assert held is not None
    for joined in (1, 20 * held, 10**6):  # one batch at a time, passes of 20, and all at once
        monkeypatch.setattr(batch_size, "JOINED_NUMBERS", joined)
        tracin = TracIn(model, checkpoints, loss, device="cpu", batch_size=8)
        budget = choose_budget(torch.device("cpu"))
        sizes.append(BatchSizes(model, Plan(()), 8, 6, budget).full_pass)
        captured = tracin.capture(examples, last_layer_vectors=True)
        found.append((tracin.self_influence(examples), tracin.vectors(examples), captured))
    assert sizes[:2] == [8, 20]
    assert sizes[2] > 50
    for scores, vectors, captured in found[1:]:
        torch.testing.assert_close(scores, found[0][0], **oracles.EXACT)
        torch.testing.assert_close(vectors, found[0][1], **oracles.EXACT)
        for name in ("squared_norms_all", "losses", "last_vectors"):
            torch.testing.assert_close(
                getattr(captured, name), getattr(found[0][2], name), **oracles.EXACT
            )


def test_a_gpu_joins_whatever_network_leaves_it_waiting():
    network = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    measured = Plan((), held_bytes=400)
    assert BatchSizes(network, measured, 16, 6, Budget(10_000, 600)).full_pass == 100
    assert BatchSizes(network, measured, 16, 6, Budget(100, 600)).full_pass == 16
    assert (
        BatchSizes(
            network, Plan((), {"0.weight": "no rule"}, held_bytes=4), 16, 6, PLENTY
        ).full_pass
        == 16
    )
    assert (
        BatchSizes(network, Plan(()), 16, 6, PLENTY).full_pass == 16
    )  # on a processor it would lose
