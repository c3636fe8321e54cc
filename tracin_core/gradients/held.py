"""How much memory a forward pass keeps for its backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tracin_core.gradients.structure import call_model


def count_held_bytes(model: nn.Module, inputs: Any, examples: int) -> int:
    """Return the bytes that are kept for each example until its gradients are computed.

    Args:
        model: In evaluation mode, weights in place; the chosen parameters require gradients.
        inputs: Some examples.
        examples: How many.
    """
    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}
    weights |= {value.untyped_storage().data_ptr() for value in model.buffers()}
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(note, lambda tensor: tensor):
        # The result is kept until all is counted: what is given back could be counted twice.
        outputs = call_model(model, inputs)
        total = sum(held.values())
        del outputs
    return -(-total // examples)
