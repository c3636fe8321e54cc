"""What the last layer is taken to be: the last map from features to outputs, whole."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import ConfigurationError
from tracin_core.losses import cross_entropy

INPUTS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
EXAMPLES = TensorDataset(INPUTS, torch.arange(6) % 3)
WORDS = TensorDataset(torch.arange(30).view(6, 5) % 7, torch.arange(6) % 7)
IMAGES = TensorDataset(torch.randn(6, 2, 4, 4, dtype=torch.float64), torch.arange(6) % 3)


class Net(nn.Module):
    """A body, and a head of some kind."""

    def __init__(self, head: nn.Module | None = None, width: int = 5) -> None:
        super().__init__()
        self.body = nn.Linear(4, width)
        if head is not None:
            self.head = head

    def features(self, inputs: Tensor) -> Tensor:
        return torch.tanh(self.body(inputs))

    def forward(self, inputs: Tensor) -> Any:
        return self.head(self.features(inputs))


class Temperature(Net):
    def __init__(self) -> None:
        super().__init__(nn.Linear(5, 3))
        self.temperature = nn.Parameter(torch.tensor(1.5))

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) / self.temperature


class LogitScale(Net):
    def __init__(self) -> None:
        super().__init__(nn.Linear(5, 3))
        self.scale, self.shift = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * self.scale.exp() + self.shift


class LogitBias(Net):
    """The bias of the head hangs elsewhere."""

    def __init__(self, own: bool = False) -> None:
        super().__init__(nn.Linear(5, 3, bias=own))
        self.prior = nn.Parameter(torch.randn(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + self.prior


class TiedDecoder(nn.Module):
    """As masked language models: the decoder's weight is the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.dense, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)
        self.decoder = nn.Linear(4, 7)
        self.decoder.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.decoder(self.norm(torch.tanh(self.dense(self.words(ids).mean(1)))))


class TiedByHand(TiedDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Identity()
        self.bias = nn.Parameter(torch.zeros(7))

    def forward(self, ids: Tensor) -> Tensor:
        return F.linear(super().forward(ids), self.words.weight) + self.bias


class Cosine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.tensor(4.0))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(inputs), F.normalize(self.weight))


class SideBySide(Net):
    def __init__(self, how: str) -> None:
        super().__init__()
        sizes = {"joined": (1, 2), "averaged": (3, 3), "mixed": (3, 3)}[how]
        self.one, self.two = nn.Linear(5, sizes[0]), nn.Linear(5, sizes[1])
        self.how, self.gate = how, nn.Linear(5, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.features(inputs)
        one, two = self.one(features), self.two(features)
        if self.how == "joined":
            return torch.cat([one, two], dim=1)
        if self.how == "averaged":
            return (one + two) / 2
        gates = self.gate(features).softmax(1)
        return gates[:, :1] * one + gates[:, 1:] * two


class Functional(Net):
    """Everything hangs at the model itself."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(5))
        self.weight, self.bias = nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.randn(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(self.features(inputs) + self.token, self.weight, self.bias)


class ByHand(Net):
    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(6))
        self.w2, self.b2 = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu(self.features(inputs) @ self.w1 + self.b1) @ self.w2 + self.b2


class LowRank(nn.Module):
    """LoRA as peft builds it; the base is frozen."""

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        self.base_layer = nn.Linear(5, 3).requires_grad_(not frozen)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(5, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, 3, bias=False)})

    def forward(self, inputs: Tensor) -> Tensor:
        added = self.lora_B["default"](self.lora_A["default"](inputs)) * 2.0
        return self.base_layer(inputs) + added


class LowRankByHand(nn.Linear):
    """LoRA as loralib builds it."""

    def __init__(self) -> None:
        super().__init__(5, 3)
        self.a, self.b = nn.Parameter(torch.randn(2, 5)), nn.Parameter(torch.randn(3, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + inputs @ self.a.T @ self.b.T * 0.5


class Prototypes(nn.Module):
    def __init__(self, by_hand: bool) -> None:
        super().__init__()
        self.prototypes, self.by_hand = nn.Parameter(torch.randn(3, 5)), by_hand

    def forward(self, inputs: Tensor) -> Tensor:
        if self.by_hand:
            return -(inputs[:, None] - self.prototypes).square().sum(2)
        return -torch.cdist(inputs, self.prototypes)


class Dot(Net):
    """A single output by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(5))

    def forward(self, inputs: Tensor) -> Tensor:
        return (self.features(inputs) * self.w).sum(1)


class Pooled(nn.Module):
    """A 1x1 convolution, and then pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.head(torch.relu(self.body(images)))).mean((2, 3))


class Registered(nn.Module):
    """The head comes first in the list of modules, and an unused one last."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.unused = nn.Linear(5, 3), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(inputs)))


class Refined(nn.Module):
    """The outputs are the inputs with something added twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs + torch.tanh(self.one(inputs))
        return inputs + torch.tanh(self.two(inputs))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.cells = nn.Embedding(7, 4), nn.GRU(4, 7, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        return self.cells(self.words(ids))[0][:, -1]


class Factors(nn.Module):
    """Matrix factorisation: nothing maps features by a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 3)
        self.offset = nn.Parameter(torch.tensor(0.1))

    def forward(self, ids: Tensor) -> Tensor:
        found = self.words(ids)
        return (found[:, 0] * found[:, 1]).sum(1) + self.offset


def normed(old: bool) -> nn.Module:
    layer = nn.Linear(5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old one is deprecated, and in use
        return nn.utils.weight_norm(layer) if old else parametrizations.weight_norm(layer)


def spectral(old: bool) -> nn.Module:
    layer = nn.Linear(5, 3)
    return nn.utils.spectral_norm(layer) if old else parametrizations.spectral_norm(layer)


HEAD = ("head.weight", "head.bias")
PARAMETRISED = "head.parametrizations.weight."
KINDS: dict[str, tuple[nn.Module, TensorDataset, tuple[str, ...]]] = {
    "plain": (Net(nn.Linear(5, 3)), EXAMPLES, HEAD),
    "two Linears": (Net(nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))), EXAMPLES,
                    ("head.1.weight", "head.1.bias")),
    "registered first": (Registered(), EXAMPLES, HEAD),
    "weight_norm": (Net(normed(False)), EXAMPLES,
                    ("head.bias", f"{PARAMETRISED}original0", f"{PARAMETRISED}original1")),
    "weight_norm of old": (Net(normed(True)), EXAMPLES,
                           ("head.bias", "head.weight_g", "head.weight_v")),
    "spectral_norm": (Net(spectral(False)), EXAMPLES, ("head.bias", f"{PARAMETRISED}original")),
    "spectral_norm of old": (Net(spectral(True)), EXAMPLES, ("head.bias", "head.weight_orig")),
    "temperature": (Temperature(), EXAMPLES, HEAD),
    "scale and shift": (LogitScale(), EXAMPLES, HEAD),
    "bias elsewhere": (LogitBias(), EXAMPLES, ("prior", "head.weight")),
    "another bias": (LogitBias(own=True), EXAMPLES, HEAD),
    "tied decoder": (TiedDecoder(), WORDS, ("words.weight", "decoder.bias")),
    "tied by hand": (TiedByHand(), WORDS, ("bias", "words.weight")),
    "cosine": (Net(Cosine()), EXAMPLES, ("head.weight", "head.scale")),
    "joined": (SideBySide("joined"), EXAMPLES,
               ("one.weight", "one.bias", "two.weight", "two.bias")),
    "averaged": (SideBySide("averaged"), EXAMPLES,
                 ("one.weight", "one.bias", "two.weight", "two.bias")),
    "mixed by a gate": (SideBySide("mixed"), EXAMPLES,
                        ("one.weight", "one.bias", "two.weight", "two.bias")),
    "normalised afterwards": (Net(nn.Sequential(nn.Linear(5, 3), nn.LayerNorm(3))), EXAMPLES,
                              ("head.0.weight", "head.0.bias")),
    "functional": (Functional(), EXAMPLES, ("weight", "bias")),
    "by hand": (ByHand(), EXAMPLES, ("w2", "b2")),
    "LoRA": (Net(LowRank(frozen=True)), EXAMPLES,
             ("head.lora_A.default.weight", "head.lora_B.default.weight")),
    "LoRA beside a trained base": (
        Net(LowRank(frozen=False)), EXAMPLES,
        ("head.base_layer.weight", "head.base_layer.bias", "head.lora_A.default.weight",
         "head.lora_B.default.weight")),
    "LoRA in one module": (Net(LowRankByHand()), EXAMPLES, (*HEAD, "head.a", "head.b")),
    "prototypes": (Net(Prototypes(False)), EXAMPLES, ("head.prototypes",)),
    "prototypes by hand": (Net(Prototypes(True)), EXAMPLES, ("head.prototypes",)),
    "convolution and pooling": (Pooled(), IMAGES, HEAD),
    "inputs refined": (Refined(), EXAMPLES, ("two.weight", "two.bias")),
    "recurrent": (Recurrent(), WORDS, tuple(
        f"cells.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))),
    "attention at the end": (
        nn.TransformerEncoderLayer(4, 2, 6, batch_first=True),
        TensorDataset(INPUTS[:, None].expand(6, 2, 4), torch.zeros(6, 2, 4).double()),
        ("linear2.weight", "linear2.bias")),
    "multi-layer head": (Net(nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))), EXAMPLES,
                         ("head.2.weight", "head.2.bias")),
}  # fmt: skip


def make(model: nn.Module, **options: Any) -> TracIn:
    checkpoint = Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=1.0)
    return TracIn(model, [checkpoint], device="cpu", **options)


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum((1, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layer_is_the_last_map_from_features_to_outputs(kind: str) -> None:
    torch.manual_seed(0)
    model, examples, names = KINDS[kind]
    model = model.double().eval()
    loss = cross_entropy
    options: dict[str, Any] = {"layers": "last"}
    if kind == "attention at the end":
        loss = options["loss"] = squares
    tracin = make(model, **options)
    found = tracin.self_influence(examples)
    assert tracin.last_layer is not None
    assert set(tracin.last_layer.parameters) == set(names)
    assert tracin.coverage.covered == tuple(n for n, _ in model.named_parameters() if n in names)
    rows = [oracles.gradients_of_one(model, (x, y), loss, names) for x, y in examples]
    torch.testing.assert_close(found, torch.stack(rows).square().sum(1), **oracles.EXACT)


def test_matrix_factorisation_s_last_layer_is_no_single_number() -> None:
    model = Factors().double()
    examples = TensorDataset(WORDS.tensors[0], torch.rand(6).double())
    tracin = make(model, layers="last", loss="mse")
    tracin.examine(examples)
    assert tracin.last_layer is not None
    assert tracin.last_layer.parameters == ("words.weight",)


def test_a_scalar_product_by_hand_is_a_last_layer() -> None:
    tracin = make(Dot().double(), layers="last", loss="mse")
    tracin.examine(TensorDataset(INPUTS, INPUTS[:, 0]))
    assert tracin.last_layer is not None
    assert tracin.last_layer.parameters == ("w",)


def test_of_several_outputs_those_count_that_the_loss_reads() -> None:
    class Several(Net):
        def __init__(self) -> None:
            super().__init__(nn.Linear(5, 3))
            self.side, self.unread = nn.Linear(5, 1), nn.Linear(5, 1)

        def forward(self, inputs: Tensor) -> Any:
            features = self.features(inputs)
            return self.head(features), self.side(features), self.unread(features)

    def loss(outputs: Any, targets: Tensor) -> Tensor:
        return cross_entropy(outputs[0], targets) + outputs[1].squeeze(1) ** 2

    tracin = make(Several().double(), layers="last", loss=loss)
    tracin.examine(EXAMPLES)
    assert tracin.last_layer is not None
    assert tracin.last_layer.parameters == (*HEAD, "side.weight", "side.bias")


def test_the_last_layer_can_be_chosen() -> None:
    model = Net(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))).double()
    names = ["head.0.weight", "head.0.bias"]
    rows = [oracles.gradients_of_one(model, (x, y), cross_entropy, names) for x, y in EXAMPLES]
    expected = torch.stack(rows).square().sum(1)
    for chosen in ("head.0", ["head.0"], model.head[0], [model.head[0]], names):
        capture = make(model, last_layer=chosen).capture(EXAMPLES)
        torch.testing.assert_close(capture.squared_norms_last[0], expected, **oracles.EXACT)
        one = make(model, layers="last", last_layer=chosen).self_influence(EXAMPLES)
        torch.testing.assert_close(one, expected, **oracles.EXACT)


def test_layers_can_be_modules_and_parameters() -> None:
    model = Net(nn.Linear(5, 3)).double()
    expected = make(model, layers=["head"]).self_influence(EXAMPLES)
    for layers in (model.head, [model.head], ["head.weight", "head.bias"]):
        found = make(model, layers=layers).self_influence(EXAMPLES)
        torch.testing.assert_close(found, expected, **oracles.EXACT)
    with pytest.raises(ConfigurationError, match="Linear in layers that is no part of the model"):
        make(model, layers=[nn.Linear(5, 3)])
    with pytest.raises(ConfigurationError, match="last_layer='all'"):
        make(model, last_layer="all")


class Inside(Net):
    """Changes what its head returned in place, so that the tensor stays the same."""

    def __init__(self, change: str) -> None:
        super().__init__(nn.Linear(5, 3))
        self.change = change

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        if self.change == "scaled":
            logits *= 3.0
        elif self.change == "bounded":
            logits.clamp_(max=0.1)
        return logits


def halve(_: nn.Module, __: Any, output: Tensor) -> Tensor:
    return output / 2


@pytest.mark.parametrize("change", ["scaled", "bounded", "hooked"])
def test_a_head_whose_result_is_changed_is_differentiated(change: str) -> None:
    model = Inside(change).double()
    if change == "hooked":
        model.head.register_forward_hook(halve)
    rows = [oracles.gradients_of_one(model, (x, y), cross_entropy, HEAD) for x, y in EXAMPLES]
    found = make(model, layers="last").self_influence(EXAMPLES)
    torch.testing.assert_close(found, torch.stack(rows).square().sum(1), **oracles.EXACT)
