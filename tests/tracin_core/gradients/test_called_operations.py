"""Layers with a forward of their own, by the normalisation or convolution that they call."""

from __future__ import annotations

from types import MethodType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.gradients.factored import Outer
from tracin_core.gradients.graph.pull_back import RowStore
from tracin_core.gradients.graph.standardised import RowStandardisation, Standardised
from tracin_core.gradients.plan import confirm_plan, draft_plan

CHANNELS = 4


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


class ChannelsFirstLayerNorm(nn.LayerNorm):
    def forward(self, inputs: Tensor) -> Tensor:
        last = inputs.permute(0, 2, 3, 1)
        return F.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps).permute(
            0, 3, 1, 2
        )


class BatchNormAndActivation(nn.BatchNorm2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.act(
            F.batch_norm(inputs, self.running_mean, self.running_var, self.weight, self.bias)
        )


class ShiftedGroupNorm(nn.GroupNorm):
    """Its scale is one more than the parameter."""

    def forward(self, inputs: Tensor) -> Tensor:
        return F.group_norm(inputs, self.num_groups, 1 + self.weight, self.bias, self.eps)


class StandardizedConvolution(nn.Conv2d):
    """With gains, and weights standardised by the operation that normalises batches."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.gain = nn.Parameter(torch.rand(self.out_channels, 1, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        gain = (self.gain * 0.3).view(-1)
        weight = F.batch_norm(flat, None, None, gain, training=True, momentum=0.0, eps=1e-6)
        return F.conv2d(
            inputs, weight.reshape_as(self.weight), self.bias, self.stride, self.padding
        )


class WrittenOutStandardization(nn.Conv2d):
    def forward(self, inputs: Tensor) -> Tensor:
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = centred / (centred.square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt()
        return F.conv2d(inputs, weight, self.bias, self.stride, self.padding)


class CalledTwice(nn.Conv2d):
    """Applies one normalised weight two times."""

    def __init__(self) -> None:
        super().__init__(CHANNELS, CHANNELS, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(CHANNELS, 1, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        weight = self.gain * F.normalize(self.weight, dim=1)
        once = F.conv2d(inputs, weight, self.bias, padding=1)
        return F.conv2d(once.tanh(), weight, self.bias, padding=1)


def convolution(layer: nn.Module | None = None) -> nn.Module:
    return layer or nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)


LAYERS: dict[str, Any] = {
    "layer norm, channels first": lambda: ChannelsFirstLayerNorm(CHANNELS),
    "batch norm with an activation": lambda: BatchNormAndActivation(CHANNELS),
    "group norm, shifted scale": lambda: ShiftedGroupNorm(2, CHANNELS),
    "synchronised batch norm": lambda: nn.SyncBatchNorm(CHANNELS),
    "standardised convolution": lambda: StandardizedConvolution(CHANNELS, 5, 3, 2, 1),
    "standardised convolution of few positions": lambda: StandardizedConvolution(CHANNELS, 8, 3, 3),
    "standardisation written out": lambda: WrittenOutStandardization(CHANNELS, 5, 3, bias=False),
    "one weight, called twice": CalledTwice,
    "weight norm": lambda: parametrizations.weight_norm(convolution()),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Conv2d(CHANNELS, CHANNELS, 1)),
    "weight norm, transposed": lambda: parametrizations.weight_norm(
        nn.ConvTranspose2d(CHANNELS, 6, 3, groups=2)
    ),
    "one slope": nn.PReLU,
    "slopes": lambda: nn.PReLU(CHANNELS),
    "transposed": lambda: nn.ConvTranspose2d(CHANNELS, 6, 3, 2, 1, output_padding=1),
    "transposed, in groups": lambda: nn.ConvTranspose2d(
        CHANNELS, 6, 3, groups=2, dilation=2, bias=False
    ),
}


def make(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    front = nn.Conv2d(2, CHANNELS, 1)
    network = nn.Sequential(front, layer, nn.Flatten(), nn.LazyLinear(3)).double().eval()
    network(torch.zeros(2, 2, 6, 6, dtype=torch.float64))
    with torch.no_grad():
        for value in layer.parameters():
            value.add_(torch.rand_like(value) / 4)
    return network


def assert_exact(network: nn.Module, images: Tensor, batch_size: int = 3) -> TracIn:
    examples = [(image, torch.tensor(i % 3)) for i, image in enumerate(images)]
    checkpoint = Checkpoint(network.state_dict(), learning_rate=1.0)
    tracin = TracIn(network, [checkpoint], device="cpu", batch_size=batch_size)
    expected = oracles.per_example_gradients(network, examples, loss)
    torch.testing.assert_close(tracin.vectors(examples), expected, **oracles.EXACT)
    norms = tracin.self_influence(examples)
    torch.testing.assert_close(norms, expected.square().sum(1), **oracles.EXACT)
    return tracin


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_covered_by_the_operation_that_it_calls(kind: str) -> None:
    network = make(LAYERS[kind]())
    tracin = assert_exact(network, draw(7, 2, 6, 6))
    coverage = tracin.examine([(image, torch.tensor(0)) for image in draw(3, 2, 6, 6)])
    assert {entry.method for entry in coverage} == {"rule"}, str(coverage)


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize(("kernel", "space"), [(nn.ConvTranspose1d, 1), (nn.ConvTranspose3d, 3)])
def test_transposed_convolutions_of_one_and_three_dimensions(kernel: Any, space: int) -> None:
    torch.manual_seed(0)
    layer = kernel(2, 3, 3, stride=2, padding=1)
    network = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(3)).double()
    network(torch.zeros(1, 2, *[4] * space, dtype=torch.float64))
    assert_exact(network, draw(4, 2, *[4] * space))


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("kind", ["standardised convolution", "weight norm", "orthogonal"])
def test_what_is_made_of_parameters_holds_no_whole_gradients(kind: str) -> None:
    network = make(LAYERS[kind]())
    names = [name for name, _ in network.named_parameters()]
    images = draw(3, 2, 6, 6)
    plan = confirm_plan(network, draft_plan(network, names), images, torch.arange(3), loss)
    assert {name.removeprefix("1.") for name in plan.known} >= {
        name for name, _ in network[1].named_parameters() if name != "bias"
    }
    assert plan.written_numbers == 0


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9999])
def test_standardised_norms_keep_their_precision_beside_what_is_taken_away(share: float) -> None:
    rows, columns = 8, 64
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(rows, columns, generator=generator)
    kernel = (kernel - kernel.mean(1, keepdim=True)) / kernel.std(1, correction=0, keepdim=True)
    deltas = torch.randn(3, 1, rows, generator=generator)
    noise = torch.randn(3, 1, columns, generator=generator)
    inputs = share * kernel[:1] + (1 - share) * noise + 5
    outer = Outer(deltas * (torch.arange(rows) == 0), inputs, kernel.shape)
    assert outer.is_factored
    how = RowStandardisation(kernel, torch.rand(rows, generator=generator) + 1)
    found = Standardised(outer, how, kernel.shape, RowStore(3))
    wide = [tensor.double() for tensor in (outer.deltas, outer.inputs, how.rows, how.scales)]
    exact = Standardised(
        Outer(wide[0], wide[1], kernel.shape),
        RowStandardisation(wide[2], wide[3]),
        kernel.shape,
        RowStore(3),
    )
    expected = exact.instantiate().square().sum((1, 2))
    torch.testing.assert_close(found.squared_norms().double(), expected, rtol=1e-4, atol=1e-9)


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("kind", ["standardised convolution", "layer norm, channels first"])
def test_half_precision_is_near(kind: str) -> None:
    network = make(LAYERS[kind]()).float()
    examples = [(image.float(), torch.tensor(i % 3)) for i, image in enumerate(draw(4, 2, 6, 6))]
    checkpoints = [Checkpoint(network.state_dict(), learning_rate=1.0)]
    whole = TracIn(network, checkpoints, device="cpu").self_influence(examples)
    half = TracIn(network, checkpoints, device="cpu", precision="bfloat16")
    torch.testing.assert_close(half.self_influence(examples), whole, rtol=0.05, atol=0.0)
    assert {entry.method for entry in half.examine(examples)} == {"rule"}


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
def test_a_forward_that_was_set_on_a_norm_is_run_as_it_is(kind: Any) -> None:
    network = nn.Sequential(kind(4), nn.Tanh(), nn.Linear(4, 3)).double()
    network[0].forward = MethodType(
        lambda layer, inputs: kind.forward(layer, inputs * 3) + 1, network[0]
    )
    tracin = assert_exact(network, draw(7, 4))
    assert tracin.coverage["0.weight"].reason.startswith("read by ")
