"""Every rule agrees with one example at a time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests import oracles
from tracin_core import Checkpoint, TracIn


def weighted_sum(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss whose gradient at the outputs differs everywhere and bends."""
    flat = outputs.flatten(1)
    weights = torch.linspace(-1, 2, flat.shape[1], dtype=flat.dtype)
    return (weights * flat).sum(1).sin() + (flat.square() * weights).sum(1) * targets


def assert_rule(
    layer: nn.Module, inputs: Any, methods: Collection[str] = ("rule",), batch_size: int = 2
) -> None:
    """Compare exact vectors with the oracle, and see who made them."""
    torch.manual_seed(1)
    layer = layer.double()
    with torch.no_grad():
        for value in layer.parameters():
            value.add_(0.3 * torch.randn_like(value))
    size = len(inputs[0]) if isinstance(inputs, tuple) else len(inputs)
    targets = torch.linspace(0.5, 1.5, size, dtype=torch.float64)
    examples = [
        (tuple(part[i] for part in inputs) if isinstance(inputs, tuple) else inputs[i], targets[i])
        for i in range(size)
    ]
    checkpoint = Checkpoint(layer.state_dict(), learning_rate=1.0)
    tracin = TracIn(layer, [checkpoint], loss=weighted_sum, device="cpu", batch_size=batch_size)
    expected = oracles.per_example_gradients(layer, examples, weighted_sum)
    torch.testing.assert_close(tracin.vectors(examples), expected, **oracles.EXACT)
    norms = tracin.self_influence(examples)
    torch.testing.assert_close(norms, expected.square().sum(1), **oracles.EXACT)
    assert {entry.method for entry in tracin.coverage} == set(methods), str(tracin.coverage)


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


LINEAR = {
    "linear": (nn.Linear(5, 3), (4, 5)),
    "linear without bias": (nn.Linear(5, 3, bias=False), (4, 5)),
    "linear over a sequence": (nn.Linear(5, 3), (4, 7, 5)),
    "linear over a short sequence": (nn.Linear(40, 30), (4, 2, 40)),
    "linear over a grid": (nn.Linear(5, 3, bias=False), (4, 2, 3, 5)),
}
CONVOLUTIONS = {
    "conv1d": (nn.Conv1d(3, 4, 3, stride=2, padding=1), (4, 3, 9)),
    "conv1d same": (nn.Conv1d(2, 4, 4, padding="same"), (4, 2, 8)),
    "conv2d": (nn.Conv2d(3, 4, 3, padding=1), (4, 3, 6, 5)),
    "conv2d without bias": (nn.Conv2d(3, 4, 3, bias=False), (4, 3, 6, 5)),
    "conv2d uneven": (
        nn.Conv2d(2, 4, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(2, 0)),
        (4, 2, 8, 7),
    ),
    "conv2d valid": (nn.Conv2d(2, 4, 3, padding="valid"), (4, 2, 6, 5)),
    "conv2d same": (nn.Conv2d(2, 4, (4, 3), padding="same", dilation=(1, 2)), (4, 2, 8, 7)),
    "conv2d circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (4, 2, 6, 5)),
    "conv2d reflect": (nn.Conv2d(2, 3, 3, padding=2, padding_mode="reflect"), (4, 2, 6, 5)),
    "conv2d replicate": (
        nn.Conv2d(2, 3, 3, padding="same", padding_mode="replicate"),
        (4, 2, 6, 5),
    ),
    "conv2d groups": (nn.Conv2d(4, 6, 3, groups=2, padding=1), (4, 4, 6, 5)),
    "conv2d depthwise": (nn.Conv2d(4, 4, 3, groups=4, stride=2), (4, 4, 7, 7)),
    "conv2d pointwise": (nn.Conv2d(4, 6, 1), (4, 4, 5, 5)),
    "conv2d leftover border": (nn.Conv2d(2, 3, 2, stride=3), (4, 2, 10, 9)),
    "conv2d few positions": (nn.Conv2d(16, 12, 3, padding=1), (4, 16, 3, 3)),
    "conv2d few positions, groups": (nn.Conv2d(16, 16, 3, groups=2), (4, 16, 4, 4)),
    "conv3d": (nn.Conv3d(2, 3, (2, 3, 2), stride=(1, 2, 1), padding=1), (4, 2, 4, 5, 3)),
    "conv3d circular groups": (
        nn.Conv3d(2, 4, 3, padding=1, padding_mode="circular", groups=2),
        (4, 2, 3, 4, 3),
    ),
}
NORMALIZATIONS = {
    "layer norm": (nn.LayerNorm(5), (4, 5)),
    "layer norm over a sequence": (nn.LayerNorm(5), (4, 3, 5)),
    "layer norm of two axes": (nn.LayerNorm((3, 5)), (4, 2, 3, 5)),
    "layer norm without bias": (nn.LayerNorm(5, bias=False), (4, 3, 5)),
    "rms norm": (nn.RMSNorm(5), (4, 3, 5)),
    "rms norm with eps": (nn.RMSNorm((3, 5), eps=1e-3), (4, 3, 5)),
    "group norm": (nn.GroupNorm(2, 6), (4, 6, 3, 2)),
    "group norm of vectors": (nn.GroupNorm(2, 6), (4, 6)),
    "batch norm 1d": (nn.BatchNorm1d(5), (4, 5)),
    "batch norm 1d over length": (nn.BatchNorm1d(5), (4, 5, 3)),
    "batch norm 2d": (nn.BatchNorm2d(3), (4, 3, 4, 2)),
    "batch norm 3d": (nn.BatchNorm3d(3), (4, 3, 2, 2, 2)),
    "instance norm": (nn.InstanceNorm2d(3, affine=True), (4, 3, 4, 2)),
    "instance norm with statistics": (
        nn.InstanceNorm1d(3, affine=True, track_running_stats=True),
        (4, 3, 4),
    ),
}
CASES = LINEAR | CONVOLUTIONS | NORMALIZATIONS


# torch's own word on even kernels; the gradients are right all the same.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", CASES)
def test_rule_agrees_with_one_example_at_a_time(name: str) -> None:
    layer, shape = CASES[name]
    for buffer_name, value in layer.named_buffers():
        if "running" in buffer_name:
            value.copy_(torch.rand(value.shape) + 0.5)
    assert_rule(layer, randn(*shape))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Embedding(6, 3),
        nn.Embedding(6, 3, padding_idx=2),
        nn.Embedding(6, 3, sparse=True),
        nn.EmbeddingBag(6, 3, mode="mean"),
        nn.EmbeddingBag(6, 3, mode="sum"),
        nn.EmbeddingBag(6, 3, mode="mean", padding_idx=2),
        nn.EmbeddingBag(6, 3, mode="sum", padding_idx=2),
    ],
    ids=str,
)
def test_table_rules_sum_repeated_rows_before_the_norm(layer: nn.Module) -> None:
    indices = torch.tensor([[1, 1, 2, 5], [0, 3, 0, 0], [2, 2, 2, 2], [4, 5, 2, 4]])
    assert_rule(layer, indices)


class WeightedBag(nn.Module):
    """Weights per index come with the example."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(6, 3, mode="sum")

    def forward(self, indices: Tensor, weights: Tensor) -> Tensor:
        return self.bag(indices, per_sample_weights=weights)


class FlatBag(nn.Module):
    """Lays the bags end to end, as offsets allow."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(6, 3, mode=mode, padding_idx=2)

    def forward(self, indices: Tensor) -> Tensor:
        offsets = torch.arange(len(indices)) * indices.shape[1]
        return self.bag(indices.flatten(), offsets)


class LearnedWeightsBag(nn.Module):
    """Weights per index that are parameters themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(6, 3, mode="sum")
        self.weights = nn.Parameter(torch.ones(3))

    def forward(self, indices: Tensor) -> Tensor:
        return self.bag(indices, per_sample_weights=self.weights.expand(indices.shape))


INDICES = torch.tensor([[1, 1, 2], [0, 3, 0], [2, 2, 2], [4, 5, 2]])


def test_embedding_bag_follows_weights_per_index() -> None:
    assert_rule(WeightedBag(), (INDICES, randn(4, 3)))


@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_embedding_bag_follows_offsets(mode: str) -> None:
    assert_rule(FlatBag(mode), INDICES)


def test_embedding_bag_of_maxima_takes_the_fallback() -> None:
    assert_rule(nn.EmbeddingBag(6, 3, mode="max"), INDICES, ["torch.func"])


def test_embedding_bag_with_learned_weights_takes_the_fallback() -> None:
    # The weights themselves are repeated for every example, which a rule follows.
    assert_rule(LearnedWeightsBag(), INDICES, {"rule", "torch.func"})


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 5),
    positions=st.integers(1, 9),
    inputs=st.integers(1, 7),
    outputs=st.integers(1, 7),
    bias=st.booleans(),
    batch_size=st.integers(1, 6),
)
def test_linear_rule_holds_for_every_shape(
    size: int, positions: int, inputs: int, outputs: int, bias: bool, batch_size: int
) -> None:
    layer = nn.Linear(inputs, outputs, bias=bias)
    assert_rule(layer, randn(size, positions, inputs), batch_size=batch_size)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_convolution_rule_holds_for_every_geometry(data: st.DataObject) -> None:
    axes = data.draw(st.integers(1, 3), label="axes")

    def draw(low: int, high: int, label: str) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high), label=label) for _ in range(axes))

    groups = data.draw(st.integers(1, 3), label="groups")
    kernel, dilation, padding = draw(1, 3, "kernel"), draw(1, 2, "dilation"), draw(0, 2, "padding")
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    space = [max(r, 3) + extra for r, extra in zip(reach, draw(0, 3, "extra"), strict=True)]
    mode = data.draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"]), label="mode")
    layer = [nn.Conv1d, nn.Conv2d, nn.Conv3d][axes - 1](
        groups * data.draw(st.integers(1, 2)),
        groups * data.draw(st.integers(1, 2)),
        kernel,
        stride=draw(1, 3, "stride"),
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=mode,
        bias=data.draw(st.booleans(), label="bias"),
    )
    assert_rule(layer, randn(data.draw(st.integers(1, 4)), layer.in_channels, *space))


@settings(max_examples=25, deadline=None)
@given(
    indices=st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=1, max_size=5),
    padding=st.sampled_from([None, 0, 3]),
    bag=st.sampled_from(["none", "mean", "sum"]),
)
def test_table_rules_hold_for_every_look_up(
    indices: list[list[int]], padding: int | None, bag: str
) -> None:
    layer = (
        nn.Embedding(5, 2, padding_idx=padding)
        if bag == "none"
        else nn.EmbeddingBag(5, 2, mode=bag, padding_idx=padding)
    )
    assert_rule(layer, torch.tensor(indices))


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_normalization_rules_hold_for_every_shape(data: st.DataObject) -> None:
    def draw(low: int, high: int, label: str) -> int:
        return data.draw(st.integers(low, high), label=label)

    size, channels, space = draw(1, 5, "size"), draw(1, 3, "channels"), draw(0, 2, "axes")
    rest = [draw(1, 3, "length") for _ in range(space)]
    groups = draw(1, 2, "groups")
    kinds: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
        "layer": (nn.LayerNorm(channels + 1), (size, *rest, channels + 1)),
        "rms": (nn.RMSNorm(channels + 1), (size, *rest, channels + 1)),
        # One number in a group would be its own mean: no gradient at all.
        "group": (
            nn.GroupNorm(groups, 2 * groups * channels),
            (size, 2 * groups * channels, *rest),
        ),
        "batch": (
            [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d][space](channels),
            (size, channels, *rest),
        ),
    }
    layer, shape = kinds[data.draw(st.sampled_from(sorted(kinds)), label="kind")]
    for name, value in layer.named_buffers():
        if "running" in name:
            value.copy_(torch.rand(value.shape) + 0.5)
    assert_rule(layer, randn(*shape), batch_size=draw(1, 6, "batch size"))
