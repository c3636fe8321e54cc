"""Layers without a rule, and models left in a state that training leaves them in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests import oracles
from tests.tracin_core.models_covered.comparison import assert_covered, cross_entropy, label, shake
from tracin_core import Checkpoint, TracIn


class Pooled(nn.Module):
    """A body, its outputs squared and averaged over all positions, and a head."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(channels, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs).flatten(2).square().mean(2))


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_transposed_convolutions_are_covered_in_every_geometry(data: st.DataObject) -> None:
    torch.manual_seed(0)
    axes = data.draw(st.integers(1, 3), label="axes")
    groups = data.draw(st.integers(1, 2), label="groups")
    stride = data.draw(st.integers(1, 3), label="stride")
    layer = TRANSPOSED[axes - 1](
        2 * groups,
        groups,
        data.draw(st.integers(1, 3), label="kernel"),
        stride=stride,
        padding=data.draw(st.integers(0, 1), label="padding"),
        output_padding=data.draw(st.integers(0, stride - 1), label="output padding"),
        dilation=data.draw(st.integers(stride, 3), label="dilation"),
        groups=groups,
        bias=data.draw(st.booleans(), label="bias"),
    )
    size, batch_size = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    model = shake(Pooled(layer, groups))
    assert_covered(model, label(randn(size, 2 * groups, *[4] * axes)), batch_size)


class CrossAttention(nn.Module):
    """Attention of one sequence to another of different width."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True, **options)
        self.head = nn.Linear(4, 3)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        attended, _ = self.attention(queries, keys, keys, need_weights=False)
        return self.head(attended.mean(1))


@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"kdim": 4, "vdim": 4}, {"add_bias_kv": True}, {"dropout": 0.4}],
    ids=str,
)
def test_attention_is_covered_whatever_parameters_it_has(options: dict[str, Any]) -> None:
    model = shake(CrossAttention(**options)).train()
    inputs = list(zip(randn(5, 3, 4), randn(5, 2, 4), strict=True))
    coverage = assert_covered(model, label(inputs))
    # Its output layer is a Linear by type, but attention reads the weight past the module.
    assert coverage["attention.out_proj.weight"].reason.startswith("read by ")
    assert {entry.method for entry in coverage} == {"rule"}


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_used_twice_adds_both_uses_up(batch_first: bool) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=batch_first)
            self.head = nn.Linear(4, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = inputs if batch_first else inputs.transpose(0, 1)
            for _ in range(2):
                hidden = hidden + self.attention(hidden, hidden, hidden)[0]
            return self.head(hidden.mean(1 if batch_first else 0))

    assert_covered(shake(Twice()), label(randn(5, 3, 4)))


def build_normalised() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout2d(0.5),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.BatchNorm1d(8),
        nn.Dropout(0.5),
        nn.Linear(8, 3),
    )


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_scores_are_those_of_evaluation_mode_and_the_model_stays_as_it_was(training: bool) -> None:
    model = shake(build_normalised()).train(training)
    model[1].eval()  # a model may be half in one mode, half in the other
    before = {name: value.clone() for name, value in model.state_dict().items()}
    # The oracle runs one example at a time in evaluation mode, running statistics in use.
    assert_covered(model, label(randn(5, 2, 4, 4)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [m.training for m in model] == [training, False, *[training] * 7]


def test_scoring_draws_nothing_from_the_random_state() -> None:
    model = shake(build_normalised()).train()
    examples = label(randn(3, 2, 4, 4))
    tracin = TracIn(model, [Checkpoint(model.state_dict(), 1.0)], device="cpu")
    state = torch.random.get_rng_state()
    tracin.self_influence(examples)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_running_statistics_are_the_checkpoints_own() -> None:
    model = shake(build_normalised())
    other = {name: value.clone() for name, value in shake(build_normalised()).state_dict().items()}
    examples = label(randn(4, 2, 4, 4))
    found = TracIn(model, [Checkpoint(other, 1.0)], device="cpu").vectors(examples)
    replica = build_normalised().double()
    replica.load_state_dict(other)
    expected = oracles.per_example_gradients(replica, examples, cross_entropy)
    torch.testing.assert_close(found, expected, **oracles.EXACT)


FROZEN: dict[str, Callable[[nn.Module], None]] = {
    "a layer": lambda model: model[0].requires_grad_(False),
    "a bias": lambda model: model[5].bias.requires_grad_(False),
    "all but the head": lambda model: [m.requires_grad_(False) for m in model[:-1]],
}


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_parameters_are_left_out_and_said_so(name: str) -> None:
    model = shake(build_normalised())
    FROZEN[name](model)
    coverage = assert_covered(model, label(randn(5, 2, 4, 4)))
    frozen = tuple(n for n, value in model.named_parameters() if not value.requires_grad)
    assert frozen
    assert coverage.left_out == frozen
    assert all(coverage[n].method == "frozen" for n in frozen)


@settings(max_examples=10, deadline=None)
@given(size=st.integers(1, 7), batch_size=st.integers(1, 9), splits=st.integers(1, 3))
def test_batch_cuts_never_change_a_score(size: int, batch_size: int, splits: int) -> None:
    torch.manual_seed(0)
    model = shake(build_normalised())
    examples = label(randn(size, 2, 4, 4))
    tracin = TracIn(
        model, [Checkpoint(model.state_dict(), 1.0)], device="cpu", batch_size=batch_size
    )
    whole = tracin.vectors(examples)
    parts = [tracin.vectors(examples[i::splits]) for i in range(splits)]
    for i, part in enumerate(parts):
        torch.testing.assert_close(part, whole[i::splits], **oracles.EXACT)


class SelfAttention(nn.Module):
    """Attention of a sequence to itself, in either order of axes."""

    def __init__(self, heads: int, batch_first: bool, bias: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(2 * heads, heads, batch_first=batch_first, bias=bias)
        self.head = nn.Linear(2 * heads, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        axis = 1 if self.attention.batch_first else 0
        hidden = inputs if axis else inputs.transpose(0, 1)
        return self.head(self.attention(hidden, hidden, hidden)[0].square().mean(axis))


@settings(max_examples=12, deadline=None)
@given(
    size=st.integers(1, 5),
    length=st.integers(1, 5),
    heads=st.integers(1, 3),
    batch_first=st.booleans(),
    bias=st.booleans(),
    batch_size=st.integers(1, 6),
)
def test_attention_is_exact_in_every_shape_and_cut(
    size: int, length: int, heads: int, batch_first: bool, bias: bool, batch_size: int
) -> None:
    torch.manual_seed(0)
    model = shake(SelfAttention(heads, batch_first, bias))
    assert_covered(model, label(randn(size, length, 2 * heads)), batch_size)


class LastState(nn.Module):
    """A recurrent layer and a head on its last output."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (1 + layer.bidirectional), 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(inputs)[0][:, -1])


@settings(max_examples=8, deadline=None)
@given(
    kind=st.sampled_from([nn.LSTM, nn.GRU]),
    size=st.integers(1, 4),
    length=st.integers(1, 4),
    hidden=st.integers(1, 3),
    layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    batch_size=st.integers(1, 5),
)
def test_recurrent_layers_are_exact_in_every_shape_and_cut(
    kind: type[nn.RNNBase],
    size: int,
    length: int,
    hidden: int,
    layers: int,
    bidirectional: bool,
    batch_size: int,
) -> None:
    torch.manual_seed(0)
    layer = kind(2, hidden, layers, bidirectional=bidirectional, batch_first=True)
    assert_covered(shake(LastState(layer)), label(randn(size, length, 2)), batch_size)
