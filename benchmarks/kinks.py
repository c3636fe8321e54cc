"""Examples that float32 itself sees otherwise: an activation on the other side of a ReLU.

An activation within rounding of zero can have another sign in float32 than in float64. Its
gradient is another one then, whoever computes it, and says nothing about how exact a method is.
"""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn

from tracin_core import Checkpoint


def find_kinked(model: nn.Module, checkpoints: list[Checkpoint], inputs: Tensor) -> Tensor:
    """Return which examples have an activation of another sign in float32, shape ``(N,)``.

    Args:
        model: In float32, evaluating.
        checkpoints: Put in place one after the other.
        inputs: Of N examples, on the model's device.
    """
    kinked = torch.zeros(len(inputs), dtype=torch.bool)
    single, double = copy.deepcopy(model), copy.deepcopy(model).double()
    exact = inputs.double() if inputs.is_floating_point() else inputs
    for checkpoint in checkpoints:
        single.load_state_dict(checkpoint.weights)
        double.load_state_dict(checkpoint.weights)
        signs = zip(_read_signs(single, inputs), _read_signs(double, exact), strict=True)
        for found, expected in signs:
            kinked |= (found != expected).flatten(1).any(1).cpu()
    return kinked


def _read_signs(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Return what is positive of the input of every ReLU."""
    signs: list[Tensor] = []

    def note(signs: list[Tensor], _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        signs.append(arguments[0] > 0)

    handles = [
        module.register_forward_pre_hook(partial(note, signs))
        for module in model.modules()
        if isinstance(module, nn.ReLU)
    ]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return signs
