"""Nested inputs (tensors, tuples, lists, dicts), and calling a model with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn


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
