"""The trial tells a wrong rule from rounding, however small a gradient is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.gradients.inspection import ReferenceGradients


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def make_examples(dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    """Five sequences of three positions."""
    rows = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    return [(row, torch.tensor(i % 3)) for i, row in enumerate(rows)]


def score(model: nn.Module) -> tuple[TracIn, Tensor]:
    tracin = TracIn(model, [Checkpoint(model.state_dict(), learning_rate=1.0)], device="cpu")
    return tracin, tracin.vectors(make_examples())


def ask_oracle(model: nn.Module) -> Tensor:
    return oracles.per_example_gradients(model.double(), make_examples(torch.float64), loss)


class FaintTimeFirst(nn.Module):
    """A layer over ``(T, B, I)``, T as large as the trial, whose gradients are a millionth."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.head = inner, nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs.mean(1) + 1e-6 * self.inner(inputs.transpose(0, 1)).tanh().mean(0))


def test_a_wrong_rule_is_caught_where_gradients_are_a_millionth_of_the_largest() -> None:
    torch.manual_seed(0)
    model = FaintTimeFirst(nn.LayerNorm(4))
    (tracin, found), expected = score(model), ask_oracle(model)
    assert tracin.coverage["inner.weight"].reason == "read by NativeLayerNorm"
    assert expected[:, :8].abs().max() < 1e-5 * expected.abs().max()
    torch.testing.assert_close(found[:, :8].double(), expected[:, :8], rtol=1e-3, atol=1e-11)


class OneHead(nn.Module):
    """Attention from its parts; the bias of its keys has no gradient but rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        weights = (self.query(inputs) @ self.key(inputs).mT).softmax(2)
        return self.head((weights @ self.mix(inputs)).mean(1))

    def mix(self, inputs: Tensor) -> Tensor:
        return inputs


def test_a_gradient_that_is_zero_but_for_rounding_is_no_disagreement() -> None:
    torch.manual_seed(0)
    model = OneHead()
    (tracin, found), expected = score(model), ask_oracle(model)
    assert {entry.method for entry in tracin.coverage} == {"rule"}
    torch.testing.assert_close(found.double(), expected, **oracles.SINGLE)


def test_a_model_that_runs_in_single_precision_alone_is_tried_there() -> None:
    torch.manual_seed(0)
    model = OneHead()
    # A constant in float32 that no cast of the model reaches.
    constant = torch.eye(4)
    model.mix = lambda inputs: inputs @ constant  # type: ignore[method-assign]
    tracin, found = score(model)
    assert {entry.method for entry in tracin.coverage} == {"rule"}
    expected = oracles.per_example_gradients(model, make_examples(), loss)
    torch.testing.assert_close(found, expected, **oracles.SINGLE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("wrong", ["scale", "sign"])
def test_gradients_wrong_by_a_tenth_never_agree(dtype: torch.dtype, wrong: str) -> None:
    truths = ReferenceGradients(
        {"a": torch.ones(4, dtype=dtype), "b": torch.ones(2, dtype=dtype) / 64}
    )
    found = torch.full((2,), 1 / 64, dtype=dtype)
    assert truths.agrees_with("b", found)
    if wrong == "scale":
        found[0] *= 1.1
    else:
        found *= -1
    assert not truths.agrees_with("b", found)


def test_another_shape_never_agrees() -> None:
    truths = ReferenceGradients({"a": torch.ones(1, 4)})
    assert not truths.agrees_with("a", torch.ones(4))
    assert not truths.agrees_with("a", torch.ones(1, 1, 4))


def test_a_layer_that_gives_the_gradients_of_a_neighbour_is_caught() -> None:
    """Mirrored along the batch, the middle one of three examples stays in its place."""

    class Mirrored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(self.inner(inputs.flip(0)).tanh().flip(0).mean(1))

    torch.manual_seed(0)
    model = Mirrored()
    (tracin, found), expected = score(model), ask_oracle(model)
    torch.testing.assert_close(found.double(), expected, **oracles.SINGLE)
    assert tracin.coverage["inner.weight"].method == "rule"
