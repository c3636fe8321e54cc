"""Modules that keep, in evaluation mode, what they computed of their weights."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import GradientError
from tracin_core.gradients.evaluation import simulate_loaded_weights
from tracin_core.losses import cross_entropy

INPUTS = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
EXAMPLES = TensorDataset(INPUTS, torch.arange(5) % 3)


class Bent(nn.Module):
    """Computes with the square of its weight, and keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4))
        self.bias = nn.Parameter(torch.randn(5))

    def square(self) -> Tensor:
        return self.weight**2

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.square(), self.bias)


class FilledByFirstPass(Bent):
    """A dictionary by device, emptied by train(), filled by the first pass afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if mode and self.kept:
            self.kept = {}
        return self

    def square(self) -> Tensor:
        if self.training:
            return self.weight**2
        if "cpu" not in self.kept:
            self.kept["cpu"] = self.weight**2
        return self.kept["cpu"]


class AttributeAtSwitch(Bent):
    """An attribute made by train(False), without gradients, and deleted by train()."""

    @torch.no_grad()
    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if mode and hasattr(self, "kept"):
            del self.kept
        elif not mode:
            self.kept = self.weight**2
        return self

    def square(self) -> Tensor:
        return self.weight**2 if self.training else self.kept


class BufferAtSwitch(Bent):
    """The same in a buffer that is not saved."""

    @torch.no_grad()
    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if mode and hasattr(self, "kept"):
            del self.kept
        elif not mode:
            self.register_buffer("kept", self.weight**2, persistent=False)
        return self

    def square(self) -> Tensor:
        return self.weight**2 if self.training else self.kept


class WithDropout(AttributeAtSwitch):
    """The flag of this module decides about more than what is kept."""

    def forward(self, inputs: Tensor) -> Tensor:
        return F.dropout(super().forward(inputs), 0.5, self.training)


class Merged(Bent):
    """Adds a low-rank product to its weight in place when evaluation mode begins."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(5, 2)), nn.Parameter(torch.randn(2, 4))
        self.merged = False

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (-1 if mode else 1) * (self.up @ self.down).data
            self.merged = not mode
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = F.linear(inputs, self.weight, self.bias)
        return outputs if self.merged else outputs + inputs @ self.down.T @ self.up.T


class NeverMerged(Merged):
    def train(self, mode: bool = True) -> nn.Module:
        return nn.Module.train(self, mode)


class FilledOnce(Bent):
    """Filled in evaluation mode where nothing is there; train() does not empty it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Any = None

    def square(self) -> Tensor:
        if self.training:
            return self.weight**2
        if self.kept is None:
            self.kept = self.weight**2
        return self.kept


class FilledOnceWithoutGradients(FilledOnce):
    def square(self) -> Tensor:
        if self.training:
            return self.weight**2
        if self.kept is None:
            with torch.no_grad():
                self.kept = self.weight**2
        return self.kept


class FilledBuffer(Bent):
    """An empty place for a buffer, filled by the first pass."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", None, persistent=False)

    def square(self) -> Tensor:
        if self.training:
            return self.weight**2
        if self.kept is None:
            self.kept = self.weight**2
        return self.kept


class Shelf:
    """An object of a program's own that holds tensors."""

    def __init__(self) -> None:
        self.items: dict[str, Tensor] = {}


class FilledShelf(Bent):
    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf()

    def square(self) -> Tensor:
        if "square" not in self.shelf.items:
            self.shelf.items["square"] = self.weight**2
        return self.shelf.items["square"]


class Property(Bent):
    @functools.cached_property
    def kept(self) -> Tensor:
        return self.weight**2

    def square(self) -> Tensor:
        return self.kept


class CachedMethod(Bent):
    @functools.lru_cache  # noqa: B019 - what people do
    def square(self) -> Tensor:
        return self.weight**2


class DetachedInEvaluation(Bent):
    def square(self) -> Tensor:
        return self.weight**2 if self.training else self.weight.detach() ** 2


class WithoutGradientsInEvaluation(Bent):
    def forward(self, inputs: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.training):
            return super().forward(inputs)


class SecondList(Bent):
    """Reads its weight from a plain list, which no state dict knows."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = [self.weight]
        self.named = {"bias": self.bias}

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.weights[0] ** 2, self.named["bias"])


KEEPING = [
    FilledByFirstPass,
    AttributeAtSwitch,
    BufferAtSwitch,
    WithDropout,
    Merged,
    FilledOnce,
    FilledOnceWithoutGradients,
    FilledBuffer,
    FilledShelf,
    Property,
    CachedMethod,
    DetachedInEvaluation,
    WithoutGradientsInEvaluation,
    SecondList,
]


def build(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), kind(), nn.Tanh(), nn.Linear(5, 3))
    return model.double()


def make_checkpoints(model: nn.Module, count: int = 2) -> list[Checkpoint]:
    generator = torch.Generator().manual_seed(5)
    return [
        Checkpoint(
            {
                name: torch.randn(value.shape, generator=generator, dtype=value.dtype)
                for name, value in model.state_dict().items()
            },
            learning_rate=0.1 * (index + 1),
        )
        for index in range(count)
    ]


def describe(model: nn.Module) -> list[Any]:
    """What a model holds: every attribute, and every number of its tensors."""
    found: list[Any] = []
    for module in model.modules():
        for key, value in vars(module).items():
            items = value.items() if isinstance(value, dict) else [(key, value)]
            found += [
                (key, name, id(v), v.clone() if isinstance(v, Tensor) else None)
                for name, v in items
                if not isinstance(v, int)
            ]
        found.append(module.training)
    return found


def assert_same(before: list[Any], after: list[Any]) -> None:
    assert len(before) == len(after)
    for left, right in zip(before, after, strict=True):
        if isinstance(left, bool):
            assert left == right
            continue
        assert left[:3] == right[:3]
        assert left[3] is None or torch.equal(left[3], right[3])


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used in evaluation mode before"])
@pytest.mark.parametrize("kind", KEEPING, ids=lambda kind: kind.__name__)
def test_every_checkpoint_is_scored_with_its_own_weights(kind: type[nn.Module], used: bool) -> None:
    plain = build(NeverMerged if kind is Merged else Bent)
    model = build(kind)
    checkpoints = make_checkpoints(plain)
    if used:
        model.eval()(INPUTS)
    before = describe(model)
    tracin = TracIn(model, checkpoints, device="cpu", batch_size=3)
    expected = oracles.influence(plain, checkpoints, EXAMPLES, EXAMPLES, cross_entropy)
    names = [name for name, _ in plain.named_parameters()]
    found = tracin.self_influence(EXAMPLES)
    torch.testing.assert_close(found, expected.diagonal(), **oracles.EXACT)
    torch.testing.assert_close(tracin.influence(EXAMPLES, EXAMPLES), expected, **oracles.EXACT)
    assert tracin.coverage.covered == tuple(names)
    assert_same(before, describe(model))


@pytest.mark.parametrize("kind", KEEPING, ids=lambda kind: kind.__name__)
def test_the_last_layer_alone_sees_every_checkpoint(kind: type[nn.Module]) -> None:
    plain, model = build(NeverMerged if kind is Merged else Bent), build(kind)
    checkpoints = make_checkpoints(plain)
    names = ("4.weight", "4.bias")
    expected = oracles.influence(plain, checkpoints, EXAMPLES, EXAMPLES, cross_entropy, names)
    tracin = TracIn(model, checkpoints, layers="last", device="cpu", batch_size=3)
    found = tracin.self_influence(EXAMPLES)
    torch.testing.assert_close(found, expected.diagonal(), **oracles.EXACT)


@pytest.mark.parametrize("kind", [FilledByFirstPass, AttributeAtSwitch, BufferAtSwitch, Merged])
def test_a_network_is_judged_with_each_checkpoint_s_own_weights(kind: type[nn.Module]) -> None:
    plain, model = build(NeverMerged if kind is Merged else Bent), build(kind).eval()
    model(INPUTS)
    before = describe(model)
    for checkpoint in make_checkpoints(plain):
        plain.load_state_dict(checkpoint.weights)
        weights = {name: value.clone() for name, value in checkpoint.weights.items()}
        weights |= {n: v for n, v in model.named_buffers() if n not in weights}
        with simulate_loaded_weights(model, weights, torch.device("cpu")):
            torch.testing.assert_close(model(INPUTS), plain.eval()(INPUTS), **oracles.EXACT)
    assert_same(before, describe(model))


def test_torch_s_own_cache_of_parametrised_weights_is_off_meanwhile() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3))).double()
    checkpoints = make_checkpoints(model)
    expected = oracles.influence(model, checkpoints, EXAMPLES, EXAMPLES, cross_entropy)
    with parametrize.cached():
        model(INPUTS)
        found = TracIn(model, checkpoints, device="cpu").self_influence(EXAMPLES)
        assert parametrize._cache_enabled == 1
    torch.testing.assert_close(found, expected.diagonal(), **oracles.EXACT)


def test_a_weight_that_only_a_detached_copy_brings_to_the_outputs_is_refused() -> None:
    class Detached(Bent):
        def __init__(self) -> None:
            super().__init__()
            self.passes = 0

        def forward(self, inputs: Tensor) -> Tensor:
            self.passes += 1
            if self.training:
                return super().forward(inputs) + 1
            return F.linear(inputs, self.weight.detach() ** 2, self.bias)

    model = build(Detached)
    with pytest.raises(GradientError, match=r"depend on 2\.weight.*training mode only"):
        TracIn(model, make_checkpoints(model), device="cpu").self_influence(EXAMPLES)


def test_a_hard_choice_has_no_gradient_in_evaluation_mode() -> None:
    class Routed(nn.Module):
        """Softens its choice in training mode only, where the outputs are the same."""

        def __init__(self) -> None:
            super().__init__()
            self.gate, self.norm = nn.Linear(4, 2), nn.BatchNorm1d(4)
            self.experts = nn.ModuleList(nn.Linear(4, 3) for _ in range(3))

        def forward(self, inputs: Tensor) -> Tensor:
            inputs = self.norm(inputs)
            soft = self.gate(inputs).softmax(1)
            hard = F.one_hot(soft.argmax(1), 2).to(soft.dtype)
            if self.training:
                hard = hard + soft - soft.detach()
            return hard[:, :1] * self.experts[0](inputs) + hard[:, 1:] * self.experts[1](inputs)

    torch.manual_seed(2)
    model = Routed().double()
    checkpoints = [Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=1.0)]
    tracin = TracIn(model, checkpoints, device="cpu", batch_size=3)
    with pytest.warns(
        RuntimeWarning, match=r"gate\.bias, gate\.weight reach .* training mode only"
    ):
        found = tracin.self_influence(EXAMPLES)
    expected = oracles.influence(model, checkpoints, EXAMPLES, EXAMPLES, cross_entropy)
    torch.testing.assert_close(found, expected.diagonal(), **oracles.EXACT)


def test_a_weight_in_a_closure_is_refused() -> None:
    model = build(Bent)
    weight = model[2].weight
    model[2].square = lambda: weight**2
    with pytest.raises(GradientError, match=r"'2\.weight' from another place"):
        TracIn(model, make_checkpoints(model), device="cpu").self_influence(EXAMPLES)


def test_an_auxiliary_head_is_said_to_count_as_zero() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.side = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, inputs: Tensor) -> Any:
            return (self.head(inputs), self.side(inputs)) if self.training else self.head(inputs)

    model = Auxiliary().double()
    tracin = TracIn(model, make_checkpoints(model), device="cpu")
    with pytest.warns(RuntimeWarning, match=r"side\.bias, side\.weight .* training mode only"):
        found = tracin.self_influence(EXAMPLES)
    plain = copy.deepcopy(model)
    checkpoints = make_checkpoints(model)
    expected = oracles.influence(plain, checkpoints, EXAMPLES, EXAMPLES, cross_entropy)
    torch.testing.assert_close(found, expected.diagonal(), **oracles.EXACT)
    assert "training mode only" in tracin.coverage["side.weight"].reason
    assert "training mode only" not in tracin.coverage["head.weight"].reason


def test_a_program_s_own_counters_go_on_counting() -> None:
    class Counting(Bent):
        calls = 0

        def forward(self, inputs: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(inputs)

    model = build(Counting)
    TracIn(model, make_checkpoints(model), device="cpu").self_influence(EXAMPLES)
    assert model[2].calls > 3
