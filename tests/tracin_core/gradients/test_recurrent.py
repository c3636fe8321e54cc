"""Recurrent layers: exact gradients, by step and direction, whatever form the sequences have."""

from __future__ import annotations

from types import MethodType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.gradients.hooks import CoveredLayer, expose_layers, record_uses
from tracin_core.gradients.rules.registry import find_rule

INPUTS, SIZE, LENGTH = 3, 4, 5


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


class Recurrent(nn.Module):
    """A linear layer, a recurrent one, and a head over some of what it returns."""

    def __init__(self, layer: nn.Module, take: str = "all", *, packed: bool = False) -> None:
        super().__init__()
        self.front, self.layer = nn.Linear(INPUTS, INPUTS), layer
        self.take, self.packed = take, packed
        self.head = nn.LazyLinear(3)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.front(inputs).tanh()
        is_first = self.layer.batch_first
        if self.packed:
            # How long a sequence is stands in its first number.
            lengths = 1 + (inputs[:, 0, 0].abs() * 10).long() % LENGTH
            given: Any = pack_padded_sequence(
                values if is_first else values.transpose(0, 1),
                lengths.cpu(),
                batch_first=is_first,
                enforce_sorted=False,
            )
        else:
            given = values if is_first else values.transpose(0, 1)
        outputs, last = self.layer(given)
        if self.packed:
            outputs, _ = pad_packed_sequence(outputs, batch_first=is_first, total_length=LENGTH)
        outputs = outputs if is_first else outputs.transpose(0, 1)
        states = last if isinstance(last, tuple) else (last,)
        parts = {
            "all": [outputs.flatten(1), *(state.transpose(0, 1).flatten(1) for state in states)],
            "outputs": [outputs.square().mean(1)],
            "state": [states[-1][-1]],
        }[self.take]
        return self.head(torch.cat(parts, 1))


def make(kind: type[nn.Module], take: str = "all", *, packed: bool = False, **options: Any) -> Any:
    torch.manual_seed(0)
    layer = kind(INPUTS, SIZE, **options)
    network = Recurrent(layer, take, packed=packed).double().eval()
    network(draw(2))
    return network


def draw(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, LENGTH, INPUTS, dtype=torch.float64, generator=generator)


def assert_exact(network: nn.Module, inputs: Tensor, batch_size: int = 3) -> None:
    examples = [(row, torch.tensor(i % 3)) for i, row in enumerate(inputs)]
    checkpoint = Checkpoint(network.state_dict(), learning_rate=1.0)
    tracin = TracIn(network, [checkpoint], device="cpu", batch_size=batch_size)
    expected = oracles.per_example_gradients(network, examples, loss)
    torch.testing.assert_close(tracin.vectors(examples), expected, **oracles.EXACT)
    norms = tracin.self_influence(examples)
    torch.testing.assert_close(norms, expected.square().sum(1), **oracles.EXACT)
    coverage = tracin.examine(examples)
    assert {entry.method for entry in coverage} == {"rule"}, str(coverage)
    assert coverage["layer.weight_hh_l0"].reason == type(network.layer).__name__


CASES: list[tuple[type[nn.Module], dict[str, Any]]] = [
    (nn.LSTM, {"batch_first": True}),
    (nn.LSTM, {"bidirectional": True, "num_layers": 2, "take": "state"}),
    (nn.LSTM, {"bidirectional": True, "proj_size": 2, "batch_first": True, "num_layers": 2}),
    (nn.LSTM, {"bias": False, "proj_size": 3, "take": "outputs"}),
    (nn.GRU, {"batch_first": True, "take": "state"}),
    (nn.GRU, {"bidirectional": True, "num_layers": 2}),
    (nn.GRU, {"bias": False, "take": "outputs"}),
    (nn.RNN, {"bidirectional": True, "batch_first": True}),
    (nn.RNN, {"nonlinearity": "relu", "num_layers": 2}),
    (nn.LSTM, {"packed": True, "batch_first": True, "bidirectional": True, "num_layers": 2}),
    (nn.LSTM, {"packed": True, "proj_size": 2, "take": "state"}),
    (nn.GRU, {"packed": True, "bidirectional": True}),
    (nn.RNN, {"packed": True, "batch_first": True, "take": "outputs"}),
]


@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:RNN module weights")
@pytest.mark.parametrize(
    ("kind", "options"), CASES, ids=[f"{kind.__name__} {options}" for kind, options in CASES]
)
def test_gradients_are_exact(kind: type[nn.Module], options: dict[str, Any]) -> None:
    assert_exact(make(kind, **options), draw(7))


class FromLearnedState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(INPUTS, SIZE, batch_first=True)
        self.state, self.cells = (nn.Parameter(torch.randn(1, 1, SIZE)) for _ in range(2))
        self.head = nn.Linear(SIZE, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        first = [each.expand(-1, len(inputs), -1).contiguous() for each in (self.state, self.cells)]
        return self.head(self.layer(inputs, tuple(first))[0][:, -1])


def test_a_first_state_that_is_learned_has_its_gradients() -> None:
    torch.manual_seed(0)
    assert_exact(FromLearnedState().double(), draw(7))


class Recomputed(nn.Module):
    """Its recurrent layer is computed again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.layer = nn.Linear(INPUTS, INPUTS), nn.LSTM(INPUTS, SIZE, batch_first=True)
        self.head = nn.Linear(SIZE, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.front(inputs)
        return self.head(checkpoint(self.layer, values, use_reentrant=False)[0][:, -1])


def test_a_layer_that_is_computed_again_in_the_backward_pass() -> None:
    torch.manual_seed(0)
    assert_exact(Recomputed().double(), draw(7))


class ChangedInPlace(nn.Module):
    """What its recurrent layer returns is changed in place, as by ``nn.ReLU(inplace=True)``."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.layer, self.head = kind(INPUTS, SIZE, batch_first=True), nn.Linear(SIZE, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(inputs)[0].mul_(2).sum(1))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_outputs_may_be_changed_in_place(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    assert_exact(ChangedInPlace(kind).double(), draw(4))


def test_a_forward_set_on_a_layer_is_run_and_left_there() -> None:
    torch.manual_seed(0)
    network = Twice().double()

    def forward(layer: nn.GRU, inputs: Tensor, state: Tensor | None = None) -> Any:
        return nn.GRU.forward(layer, 3 * inputs, state)

    bound = MethodType(forward, network.layer)
    network.layer.forward = bound
    examples = [(row, torch.tensor(i % 3)) for i, row in enumerate(draw(4))]
    checkpoint = Checkpoint(network.state_dict(), learning_rate=1.0)
    found = TracIn(network, [checkpoint], device="cpu", batch_size=3).vectors(examples)
    assert vars(network.layer)["forward"] is bound
    expected = oracles.per_example_gradients(network, examples, loss)
    torch.testing.assert_close(found, expected, **oracles.EXACT)


class Twice(nn.Module):
    """Called on a part and again on the rest, from the state that the part left."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.GRU(INPUTS, SIZE, batch_first=True), nn.Linear(SIZE, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        _, state = self.layer(inputs[:, :2])
        return self.head(self.layer(inputs[:, 2:], state)[1][-1])


def test_the_uses_of_a_layer_that_is_called_twice_add_up() -> None:
    torch.manual_seed(0)
    assert_exact(Twice().double(), draw(7))


class ReadBeside(Twice):
    """Its weights are also read beside the call, which no rule sees."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * self.layer.weight_hh_l0.square().sum().sin()


def test_a_weight_that_is_read_beside_the_call_is_no_rules() -> None:
    torch.manual_seed(0)
    network = ReadBeside().double()
    examples = [(row, torch.tensor(i % 3)) for i, row in enumerate(draw(5))]
    tracin = TracIn(network, [Checkpoint(network.state_dict(), learning_rate=1.0)], device="cpu")
    expected = oracles.per_example_gradients(network, examples, loss)
    torch.testing.assert_close(tracin.vectors(examples), expected, **oracles.EXACT)
    assert tracin.examine(examples)["layer.weight_hh_l0"].method != "rule"


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_outputs_are_those_of_the_layer_itself(kind: Any) -> None:
    torch.manual_seed(0)
    layer = kind(INPUTS, SIZE, 2, bidirectional=True).double().eval()
    inputs = draw(4).transpose(0, 1)
    expected, states = layer(inputs)
    rule = find_rule(layer)
    assert not isinstance(rule, str)
    parameters = {name: name for name, _ in layer.named_parameters()}
    covered = [CoveredLayer("", layer, rule, parameters)]
    with expose_layers(covered) as sinks, record_uses(covered, sinks) as uses:
        outputs, last = layer(inputs)
    torch.testing.assert_close(outputs, expected, **oracles.EXACT)
    torch.testing.assert_close(last, states, **oracles.EXACT)
    # Of each layer and direction; a GRU's two products have gradients of their own.
    assert len(uses) == (8 if kind is nn.GRU else 4)
    assert "forward" not in vars(layer)


@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:RNN module weights")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_half_precision_is_near(kind: Any) -> None:
    torch.manual_seed(0)
    network = make(kind, batch_first=True).float()
    examples = [(row.float(), torch.tensor(i % 3)) for i, row in enumerate(draw(4))]
    checkpoints = [Checkpoint(network.state_dict(), learning_rate=1.0)]
    whole = TracIn(network, checkpoints, device="cpu").self_influence(examples)
    half = TracIn(network, checkpoints, device="cpu", precision="bfloat16")
    torch.testing.assert_close(half.self_influence(examples), whole, rtol=0.05, atol=0.0)
