"""What a model returned, cut into the rows of single examples whatever its type."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn


def find_output_tensors(outputs: Any) -> Iterator[Tensor]:
    """Yield every tensor in what a model returned, also in the attributes of an object."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_outputs(note, outputs)
    yield from found


def map_outputs(function: Callable[[Tensor], Tensor], outputs: Any) -> Any:
    """Return the outputs with every tensor changed; types, names and all else are kept.

    Args:
        function: What is done with each tensor.
        outputs: A tensor, or a structure or object that holds some.
    """
    if isinstance(outputs, Tensor):
        return function(outputs)
    if isinstance(outputs, list):
        return [map_outputs(function, item) for item in outputs]
    if isinstance(outputs, tuple):
        items = [map_outputs(function, item) for item in outputs]
        return type(outputs)(*items) if hasattr(outputs, "_fields") else tuple(items)
    if isinstance(outputs, Mapping):
        return _map_mapping(function, outputs)
    if hasattr(outputs, "__dict__") and not isinstance(outputs, nn.Module | type):
        changed = copy.copy(outputs)
        for name, value in vars(outputs).items():
            # Also where the object is frozen: this copy is nobody else's.
            object.__setattr__(changed, name, map_outputs(function, value))
        return changed
    return outputs


def take_rows(outputs: Any, indices: Sequence[int], size: int) -> Any:
    """Return the outputs of chosen examples.

    Args:
        outputs: Of ``size`` examples.
        indices: Which; an example may come twice.
        size: Number of examples B.

    Returns:
        ``None`` if a tensor has axes, but not the examples along the first.
    """
    if any(t.dim() and len(t) != size for t in find_output_tensors(outputs)):
        return None
    return map_outputs(lambda t: t[list(indices)] if t.dim() else t, outputs)


def _map_mapping(function: Callable[[Tensor], Tensor], outputs: Mapping[Any, Any]) -> Any:
    items = {key: map_outputs(function, value) for key, value in outputs.items()}
    if type(outputs) is dict:
        return items
    # A ``ModelOutput`` is read by key and by attribute; setting a key sets both.
    changed: Any = copy.copy(outputs)
    for key, value in items.items():
        changed[key] = value
    return changed
