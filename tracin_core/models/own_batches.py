"""Put the inputs of single examples into a batch: tensors, tuples and dictionaries of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tracin_core.errors import ConfigurationError

# What tokenizers call the ids of the words, and which of them are not padding.
TOKENS = "input_ids"
MASK = "attention_mask"


def as_tensors(value: Any) -> Any:
    """Return tensors, arrays and numbers as tensors, in the structure they came in.

    Raises:
        ConfigurationError: If there is something else.
    """
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray | np.number | bool | int | float):
        return torch.as_tensor(value)
    if isinstance(value, Mapping):
        return {str(name): as_tensors(item) for name, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(v, bool | int | float) for v in value):
        return torch.tensor(value)
    if isinstance(value, tuple | list) and value:
        return tuple(as_tensors(item) for item in value)
    raise ConfigurationError(
        f"It returned {'nothing' if value is None else f'a {type(value).__name__}'}; expected a "
        "tensor, or a tuple or dictionary of tensors. End the transform of an image with "
        "torchvision's ToTensor(), and that of a text with a tokenizer."
    )


def stack_inputs(items: Sequence[Any], positions: Sequence[int], *, padding: int = 0) -> Any:
    """Return a batch, examples along the first axis of each tensor.

    In dictionaries with an ``attention_mask`` shorter sequences are padded at the end: the mask
    keeps the padding from changing anything.

    Args:
        items: B inputs, alike in structure.
        positions: Where they are in their split, for messages.
        padding: Id of the word that stands for padding.

    Raises:
        ConfigurationError: If they do not fit together.
    """
    first = items[0]
    if isinstance(first, Mapping):
        _require_same("keys", [_list_keys(item) for item in items], positions)
        return {
            name: _join([item[name] for item in items], positions, name, MASK in first, padding)
            for name in first
        }
    if isinstance(first, tuple):
        sizes = [len(i) if isinstance(i, tuple) else None for i in items]
        _require_same("number of tensors", sizes, positions)
        return tuple(_stack([item[at] for item in items], positions) for at in range(len(first)))
    return _stack(items, positions)


def _list_keys(item: Any) -> list[str]:
    return list(item) if isinstance(item, Mapping) else []


def _join(
    values: Sequence[Any], positions: Sequence[int], name: str, is_masked: bool, padding: int
) -> Tensor:
    """Stack one entry of dictionaries, padded where a mask tells what is padding."""
    lists = all(isinstance(value, Tensor) and value.dim() == 1 for value in values)
    if not (is_masked and lists) or len({value.shape for value in values}) == 1:
        return _stack(values, positions)
    filling = float(padding) if name == TOKENS else 0.0
    return pad_sequence(list(values), batch_first=True, padding_value=filling)


def _stack(values: Sequence[Any], positions: Sequence[int]) -> Tensor:
    if not all(isinstance(value, Tensor) for value in values):
        raise ConfigurationError(
            "The transform nests its tensors more than once; expected a tensor, or one tuple or "
            "dictionary of tensors. Make it flat, or pass a collate function that does."
        )
    _require_same("shape", [tuple(value.shape) for value in values], positions)
    return torch.stack(list(values))


def _require_same(what: str, found: Sequence[Any], positions: Sequence[int]) -> None:
    other = next((index for index, value in enumerate(found) if value != found[0]), None)
    if other is not None:
        raise ConfigurationError(
            f"The input of the example at position {positions[other]} has the {what} "
            f"{found[other]}, that at position {positions[0]} {found[0]}; expected the same for "
            "all. Make them alike in the transform (images by torchvision's Resize, texts by "
            f"padding, or by a dictionary with an {MASK}), or pass a collate function."
        )
