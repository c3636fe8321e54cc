"""Nested inputs and outputs (tensors, tuples, lists, dicts), and calling a model with them.

Also the memory that a forward pass keeps for its backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply ``function`` to every tensor inside; everything else stays as it is."""
    if isinstance(value, Tensor):
        return function(value)
    # Sequences first: to ask whether something is a mapping takes longer.
    if isinstance(value, tuple | list):
        items = [map_tensors(function, item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, Mapping):
        return {key: map_tensors(function, item) for key, item in value.items()}
    return value


def find_tensors(value: Any) -> Iterator[Tensor]:
    """Yield every tensor inside, in a fixed order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from find_tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from find_tensors(item)


def call_model(model: nn.Module, inputs: Any) -> Any:
    """Call the model: a dict by keyword, a tuple or list by position, else one argument."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)


def take_first_row(outputs: Any, size: int) -> Any:
    """Return a model's outputs for the first of ``size`` examples, in the same structure."""
    if isinstance(outputs, Tensor):
        return outputs[:1] if outputs.dim() and len(outputs) == size else outputs
    if isinstance(outputs, Mapping):
        rows = {key: take_first_row(item, size) for key, item in outputs.items()}
        return rows if type(outputs) is dict else type(outputs)(**rows)
    if isinstance(outputs, tuple | list):
        items = [take_first_row(item, size) for item in outputs]
        return type(outputs)(*items) if hasattr(outputs, "_fields") else type(outputs)(items)
    return outputs


def measure_activation_bytes(model: nn.Module, inputs: Any, examples: int) -> int:
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
