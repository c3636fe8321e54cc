"""What a forward pass keeps for its backward pass, counted where the numbers are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tracin_core.gradients.nested import measure_activation_bytes

EXAMPLES = 5
FLOAT = 4  # bytes


def network() -> nn.Sequential:
    """Keeps its 4 inputs, and once the 3 that the ReLU gives, which both its neighbours need."""
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def test_what_two_layers_keep_is_counted_once() -> None:
    assert (
        measure_activation_bytes(network(), torch.randn(EXAMPLES, 4), EXAMPLES) == (4 + 3) * FLOAT
    )


def test_wider_numbers_are_larger() -> None:
    inputs = torch.randn(EXAMPLES, 4).double()
    assert measure_activation_bytes(network().double(), inputs, EXAMPLES) == (4 + 3) * 2 * FLOAT


def test_a_layer_that_is_not_asked_for_keeps_nothing() -> None:
    model = network()
    model[0].requires_grad_(False)
    assert measure_activation_bytes(model, torch.randn(EXAMPLES, 4), EXAMPLES) == 3 * FLOAT
    model.requires_grad_(False)
    assert measure_activation_bytes(model, torch.randn(EXAMPLES, 4), EXAMPLES) == 0


@torch.no_grad()
def test_it_counts_whatever_mode_the_caller_is_in() -> None:
    assert (
        measure_activation_bytes(network(), torch.randn(EXAMPLES, 4), EXAMPLES) == (4 + 3) * FLOAT
    )


def test_weights_and_buffers_are_there_anyway() -> None:
    """Their size is no example's, however many examples there are."""
    model = nn.Sequential(nn.Linear(2, 500), nn.BatchNorm1d(500), nn.Linear(500, 2)).eval()
    # What the linear layers and the normalisation were given, 2, 500 and 500 numbers.
    assert measure_activation_bytes(model, torch.randn(1, 2), 1) == (2 + 500 + 500) * FLOAT


class Scaled(nn.Module):
    """Multiplies by numbers that are neither weights nor buffers."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, count)
        self.scales = torch.arange(float(count))

    def forward(self, inputs: Tensor, more: Tensor | None = None) -> Tensor:
        scaled = self.layer(inputs) * self.scales
        return scaled if more is None else scaled * more


def test_what_all_examples_share_is_split_among_them_and_rounded_up() -> None:
    shared = 3 * FLOAT
    assert measure_activation_bytes(Scaled(3), torch.randn(EXAMPLES, 4), EXAMPLES) == 4 * FLOAT + 3
    assert EXAMPLES * 2 < shared < EXAMPLES * 3


@pytest.mark.parametrize("form", ["by position", "by keyword"])
def test_inputs_are_passed_as_the_model_takes_them(form: str) -> None:
    parts = {"inputs": torch.randn(3, 4), "more": torch.randn(3, 3)}
    inputs: Any = parts if form == "by keyword" else tuple(parts.values())
    # Inputs, the shared scales, and the second inputs. The scaled numbers are no one's gradient.
    assert measure_activation_bytes(Scaled(3), inputs, 3) == (4 + 1 + 3) * FLOAT


def test_counting_leaves_no_gradients_behind() -> None:
    model = network()
    measure_activation_bytes(model, torch.randn(EXAMPLES, 4), EXAMPLES)
    assert all(value.grad is None for value in model.parameters())
