"""Several checkpoints of a plain chain in one forward pass: when, and with the same numbers."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.capture import batch_size as batch_size_module
from tracin_core.capture.last_layer import Chain, find_chain
from tracin_core.losses import cross_entropy

FEATURES, CLASSES = 6, 3


def make_chain(*, bias: bool = True, depth: int = 3) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth - 1):
        layers += [nn.Linear(FEATURES, FEATURES, bias=bias), nn.Sequential(nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(FEATURES, CLASSES, bias=bias)).double()


def make_examples(count: int = 11) -> TensorDataset:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(count, 2, FEATURES // 2, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, torch.randint(CLASSES, (count,), generator=generator))


def make_checkpoints(model: nn.Module, count: int = 4) -> list[Checkpoint]:
    return [
        Checkpoint({k: v + 0.2 * i for k, v in model.state_dict().items()}, learning_rate=0.1 + i)
        for i in range(count)
    ]


def last_gradients(model: nn.Module, checkpoint: Checkpoint, examples: TensorDataset) -> Tensor:
    placed = copy.deepcopy(model)
    placed.load_state_dict(checkpoint.weights)
    last = [name for name, _ in placed.named_parameters()][-len(list(placed[-1].parameters())) :]
    return oracles.per_example_gradients(placed, list(examples), cross_entropy, last)


@given(
    bias=st.booleans(),
    depth=st.integers(1, 3),
    batch_size=st.integers(1, 12),
    joined=st.sampled_from([1, 200, 10**6]),
)
@settings(max_examples=25, deadline=None)
def test_all_checkpoints_at_once_match_one_example_at_a_time(bias, depth, batch_size, joined):
    torch.manual_seed(1)
    model, examples = make_chain(bias=bias, depth=depth), make_examples()
    checkpoints = make_checkpoints(model)
    gradients = [last_gradients(model, checkpoint, examples) for checkpoint in checkpoints]
    products = sum(c.learning_rate * g @ g.T for c, g in zip(checkpoints, gradients, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_size_module, "JOINED_NUMBERS", joined)
        tracin = TracIn(model, checkpoints, layers="last", device="cpu", batch_size=batch_size)
        found = tracin.self_influence(examples)
        influence = tracin.influence(examples, examples)
        vectors = tracin.vectors(examples)
    torch.testing.assert_close(found, products.diag(), **oracles.EXACT)
    torch.testing.assert_close(influence, products, **oracles.EXACT)
    torch.testing.assert_close(vectors @ vectors.T, products, **oracles.EXACT)


def test_a_chain_goes_through_its_checkpoints_together_once_a_batch(monkeypatch):
    model, counts = make_chain(), []
    run = Chain.run
    monkeypatch.setattr(
        Chain, "run", lambda self, w, x: counts.append((w.count, len(x))) or run(self, w, x)
    )
    tracin = TracIn(model, make_checkpoints(model), layers="last", device="cpu", batch_size=4)
    captured = tracin.capture(make_examples(), projection=Projection(8), last_layer_vectors=True)
    assert counts == [(4, 11)]
    assert captured.losses.shape == (4, 11)
    expected = TracIn(model, make_checkpoints(model), device="cpu").capture(
        make_examples(), last_layer_vectors=True
    )
    for name in ("squared_norms_last", "losses", "margins", "predicted", "last_vectors"):
        torch.testing.assert_close(
            getattr(captured, name), getattr(expected, name), **oracles.EXACT
        )


def tie(chain: nn.Sequential) -> nn.Sequential:
    chain[3].weight = chain[1].weight
    return chain


def watch(chain: nn.Sequential) -> nn.Sequential:
    chain[3].register_forward_pre_hook(lambda module, args: None)
    return chain


@pytest.mark.parametrize(
    "model",
    [
        tie(make_chain()),
        watch(make_chain()),
        nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
        nn.Sequential(nn.Flatten(0, 1), nn.Linear(4, 3)),
        nn.Sequential(*[nn.Linear(3, 3)] * 2),
    ],
    ids=["tied weights", "a hook", "a layer that mixes", "flattened examples", "one layer twice"],
)
def test_what_is_no_plain_chain_goes_the_usual_way(model):
    assert find_chain(model, model[-1]) is None


def test_the_chain_must_end_in_the_last_layer():
    chain = make_chain()
    assert find_chain(chain, chain[-1]) is not None
    assert find_chain(chain, chain[1]) is None
    assert find_chain(nn.Sequential(chain, nn.Tanh()), chain[-1]) is None


def test_examples_of_several_vectors_go_the_usual_way():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Flatten(), nn.Linear(8, CLASSES)).double()
    examples, checkpoints = make_examples(), make_checkpoints(model)
    squares = [last_gradients(model, c, examples).square().sum(1) for c in checkpoints]
    expected = sum(c.learning_rate * s for c, s in zip(checkpoints, squares, strict=True))
    tracin = TracIn(model, checkpoints, layers="last", device="cpu", batch_size=4)
    torch.testing.assert_close(tracin.self_influence(examples), expected, **oracles.EXACT)


@pytest.mark.parametrize("fails_at", [0, 2], ids=["in the pass", "after two of its checkpoints"])
def test_a_lack_of_memory_counts_nothing_twice(monkeypatch, fails_at):
    model, examples = make_chain(), make_examples()
    tracin = TracIn(model, make_checkpoints(model), layers="last", device="cpu", batch_size=4)
    expected = tracin.capture(examples, last_layer_vectors=True)
    run, done = Chain.run, []

    def run_out(self, weights, inputs):
        if len(inputs) > 3 and not fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return run(self, weights, inputs)

    def tell(value: int, total: int) -> None:
        done.append((value, total))

    monkeypatch.setattr(Chain, "run", run_out)
    if fails_at:
        _fail_once(monkeypatch, fails_at)
    with pytest.warns(RuntimeWarning, match="Out of memory"):
        found = tracin.capture(examples, last_layer_vectors=True, on_progress=tell)
    for name in ("squared_norms_last", "losses", "last_vectors"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), **oracles.EXACT)
    assert done[-1] == (44, 44)
    assert [value for value, _ in done] == sorted({value for value, _ in done})


def _fail_once(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    from tracin_core.capture.signals import SignalBuilder

    add, calls = SignalBuilder.add, []

    def add_or_fail(self, step, norms, buffer):
        add(self, step, norms, buffer)
        calls.append(step.checkpoint)
        if len(calls) == after:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(SignalBuilder, "add", add_or_fail)
