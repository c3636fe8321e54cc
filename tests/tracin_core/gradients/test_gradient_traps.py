"""Complete or refuse: models on which per-example gradients are easily wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import GradientError


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def assert_exact(model: nn.Module, inputs: Tensor, batch_size: int = 3) -> TracIn:
    """Compare a classifier of five examples with the oracle."""
    torch.manual_seed(2)
    model = model.double()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.2 * torch.randn_like(value))
    examples = [(inputs[i], torch.tensor(i % 3)) for i in range(len(inputs))]
    checkpoint = Checkpoint(model.state_dict(), learning_rate=0.5)
    tracin = TracIn(model, [checkpoint], device="cpu", batch_size=batch_size)
    gradients = oracles.per_example_gradients(model, examples, loss)
    torch.testing.assert_close(
        tracin.self_influence(examples), 0.5 * gradients.square().sum(1), **oracles.EXACT
    )
    torch.testing.assert_close(
        tracin.influence(examples, examples[:2]),
        0.5 * gradients @ gradients[:2].T,
        **oracles.EXACT,
    )
    vectors = tracin.vectors(examples)
    torch.testing.assert_close(vectors, 0.5**0.5 * gradients, **oracles.EXACT)
    assert set(tracin.coverage.covered) == dict(model.named_parameters()).keys()
    return tracin


class Twice(nn.Module):
    """One layer called twice."""

    def __init__(self, layer: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, head

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(self.layer(inputs).tanh()).tanh())


class TiedLinears(nn.Module):
    """Two Linear layers, one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.second(self.first(inputs).tanh()).tanh())


class TiedTable(nn.Module):
    """A table that is also the output layer, as a module or functionally."""

    def __init__(self, functional: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 4)
        self.functional = functional
        if not functional:
            self.head = nn.Linear(4, 3, bias=False)
            self.head.weight = self.table.weight

    def forward(self, indices: Tensor) -> Tensor:
        hidden = self.table(indices).mean(1).tanh()
        return F.linear(hidden, self.table.weight) if self.functional else self.head(hidden)


class TiedTranspose(nn.Module):
    """A weight used by its layer and, transposed, once more."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.head = nn.Linear(4, 5), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(F.linear(self.encode(inputs).tanh(), self.encode.weight.t()))


class BareParameters(nn.Module):
    """Parameters that belong to no layer, one of them a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.ones(3))
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs) * self.scale + self.shift


class Attention(nn.Module):
    """Multi-head attention: parameters of its own, and an output layer read functionally."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=batch_first)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.attention.batch_first:
            inputs = inputs.transpose(0, 1)
        attended, _ = self.attention(inputs, inputs, inputs)
        return self.head(attended.mean(1 if self.attention.batch_first else 0))


class Recurrent(nn.Module):
    """A recurrent layer and a head on its last state."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (1 + layer.bidirectional), 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(inputs)[0][:, -1])


class TimeFirst(nn.Module):
    """A Linear layer over ``(T, B, I)``, with T equal to the trial's batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.inner(inputs.transpose(0, 1)).tanh().mean(0))


class Flattened(nn.Module):
    """A Linear layer over ``(B * T, I)``."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.inner(inputs.reshape(-1, 4)).tanh()
        return self.head(hidden.reshape(len(inputs), -1, 4).mean(1))


class OwnForward(nn.Linear):
    """Looks like a Linear layer and is none."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + inputs.sum() * 0 + self.weight.sum()


class Residual(nn.Module):
    """In-place addition and activation right after captured layers, as in ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(2), nn.Linear(2, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.norm(self.conv(inputs))
        hidden += inputs
        F.relu_(hidden)
        hidden = self.conv(hidden)
        hidden.mul_(1.5).sigmoid_()
        return self.head(hidden.mean((2, 3)))


class Looped(nn.Module):
    """Control flow that depends on the data, which ``torch.func`` cannot map."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.head = nn.Parameter(torch.ones(4)), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        rows = [row * self.scale if row.sum().item() > 0 else row / self.scale for row in inputs]
        return self.head(torch.stack(rows))


def recurrent(layer: type[nn.RNNBase], **options: Any) -> nn.Module:
    return Recurrent(layer(4, 3, batch_first=True, **options))


ROWS, SEQUENCES, IMAGES = randn(5, 4), randn(5, 3, 4), randn(5, 2, 4, 4)
INDICES = torch.tensor([[0, 1, 1], [2, 0, 2], [1, 1, 1], [0, 0, 2], [2, 1, 0]])
MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "linear used twice": (lambda: Twice(nn.Linear(4, 4), nn.Linear(4, 3)), ROWS),
    "norm used twice": (lambda: Twice(nn.LayerNorm(4), nn.Linear(4, 3)), ROWS),
    "conv used twice": (
        lambda: Twice(nn.Conv2d(2, 2, 3, padding=1), nn.Sequential(nn.Flatten(), nn.Linear(32, 3))),
        IMAGES,
    ),
    "weight tied across two linears": (TiedLinears, ROWS),
    "table tied to a linear": (lambda: TiedTable(functional=False), INDICES),
    "table tied functionally": (lambda: TiedTable(functional=True), INDICES),
    "weight tied to its transpose": (TiedTranspose, ROWS),
    "bare parameters": (BareParameters, ROWS),
    "attention": (lambda: Attention(batch_first=True), SEQUENCES),
    "attention, time first": (lambda: Attention(batch_first=False), SEQUENCES),
    "transformer encoder": (
        lambda: nn.Sequential(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 1),
            nn.Flatten(),
            nn.Linear(12, 3),
        ),
        SEQUENCES,
    ),
    "lstm": (lambda: recurrent(nn.LSTM), SEQUENCES),
    "lstm, two ways": (lambda: recurrent(nn.LSTM, bidirectional=True), SEQUENCES),
    "gru": (lambda: recurrent(nn.GRU), SEQUENCES),
    "rnn": (lambda: recurrent(nn.RNN), SEQUENCES),
    "time first": (TimeFirst, SEQUENCES),
    "batch and time flattened": (Flattened, SEQUENCES),
    "subclass with its own forward": (
        lambda: nn.Sequential(OwnForward(4, 4), nn.Linear(4, 3)),
        ROWS[:1],
    ),
    "in-place changes after layers": (Residual, IMAGES),
    "in-place activation module": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)),
        ROWS,
    ),
    "dropout": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3)).train(),
        ROWS,
    ),
    "transposed convolution": (
        lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        IMAGES,
    ),
    "weight normalisation": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 3)
        ),
        ROWS,
    ),
    "data-dependent control flow": (Looped, ROWS),
    "bilinear": (lambda: Twice(nn.PReLU(), nn.Linear(4, 3)), ROWS),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", MODELS)
def test_no_gradient_is_lost_or_wrong(name: str) -> None:
    build, inputs = MODELS[name]
    torch.manual_seed(0)
    assert_exact(build(), inputs)


def test_tied_uses_add_up_before_the_norm() -> None:
    tracin = assert_exact(TiedLinears(), ROWS)
    assert tracin.coverage["first.weight"].method == "rule"


def test_functional_use_of_a_layers_weight_is_noticed() -> None:
    tracin = assert_exact(TiedTable(functional=True), INDICES)
    assert tracin.coverage["table.weight"].reason == "read by Embedding, Mm"


def test_examples_along_another_axis_are_noticed() -> None:
    coverage = assert_exact(TimeFirst(), SEQUENCES).coverage
    assert coverage["inner.weight"].reason.startswith("read by ")
    assert coverage["head.weight"].reason == "Linear"


def test_batch_norm_affine_is_exact_when_left_in_training_mode() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 3))
    model(torch.randn(8, 2, 4, 4))  # moves the running statistics off zero and one
    tracin = assert_exact(model.train(), IMAGES)
    assert tracin.coverage["1.weight"].reason == "BatchNorm2d"
    assert model.training


def test_batch_norm_without_running_statistics_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False))
    tracin = TracIn(model, [Checkpoint(model.state_dict(), learning_rate=1.0)], device="cpu")
    with pytest.raises(GradientError, match=r"without running statistics.*GroupNorm"):
        tracin.self_influence([(torch.zeros(4), 0)] * 4)


class FunctionalDropout(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return F.dropout(super().forward(inputs), 0.5, training=True)


class BatchCentred(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs - inputs.mean(0))


@pytest.mark.parametrize("layer", [FunctionalDropout, BatchCentred])
def test_outputs_that_depend_on_more_than_their_example_are_refused(
    layer: type[nn.Linear],
) -> None:
    torch.manual_seed(0)
    model = layer(4, 3)
    tracin = TracIn(model, [Checkpoint(model.state_dict(), learning_rate=1.0)], device="cpu")
    with pytest.raises(GradientError, match=r"changes with the other examples .* or from one"):
        tracin.self_influence([(row.float(), 0) for row in ROWS])


class Overwrites(nn.Module):
    """Overwrites a layer's input after the layer read it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Embedding(3, 3)

    def forward(self, indices: Tensor) -> Tensor:
        indices = indices.clone()
        outputs = self.head(indices).sum(1)
        indices.fill_(0)
        return outputs


def test_overwritten_input_is_never_used() -> None:
    model = Overwrites().double()
    examples = [(row, torch.tensor(0)) for row in INDICES]
    tracin = TracIn(model, [Checkpoint(model.state_dict(), learning_rate=1.0)], device="cpu")
    with pytest.raises(GradientError, match="changed in place"):
        tracin.vectors(examples)


def test_frozen_parameters_are_left_out_and_said_so() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)).double()
    model[0].requires_grad_(False)
    examples = [(row, torch.tensor(1)) for row in ROWS]
    tracin = TracIn(model, [Checkpoint(model.state_dict(), learning_rate=1.0)], device="cpu")
    expected = oracles.per_example_gradients(model, examples, loss)
    torch.testing.assert_close(tracin.vectors(examples), expected, **oracles.EXACT)
    assert tracin.coverage["0.weight"].method == "frozen"
    assert tracin.coverage.left_out == ("0.weight", "0.bias")


def test_unused_parameters_have_zero_gradient() -> None:
    model = nn.Sequential(nn.Linear(4, 3)).double()
    model[0].register_module("spare", nn.Linear(2, 2).double())
    model[0].register_parameter("bare", nn.Parameter(torch.ones(2, dtype=torch.float64)))
    examples = [(row, torch.tensor(1)) for row in ROWS]
    tracin = TracIn(model, [Checkpoint(model.state_dict(), learning_rate=1.0)], device="cpu")
    expected = oracles.per_example_gradients(model, examples, loss)
    torch.testing.assert_close(tracin.vectors(examples), expected, **oracles.EXACT)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 64])
def test_scores_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    torch.manual_seed(0)
    assert_exact(Residual(), IMAGES, batch_size=batch_size)
    assert_exact(Attention(batch_first=True), SEQUENCES, batch_size=batch_size)
