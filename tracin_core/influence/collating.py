"""Single examples become a batch; what cannot is named with its position."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from tracin_core.errors import ConfigurationError, GradientError

PADDING = (
    "Pad them to one length in the data set, or pass a DataLoader whose collate_fn pads each batch."
)


def collate(items: list[Any], first: int) -> tuple[Any, Any]:
    """Return inputs and targets of some examples, each with the examples along the first axis.

    Args:
        items: The examples, ``(input, target)`` each.
        first: What messages call the first of them.

    Returns:
        Inputs, and targets or ``None`` if no example has one; where only some have, the target of
        another stands in.

    Raises:
        ConfigurationError: If an example is no pair, or holds what is no number.
        GradientError: If shapes differ.
    """
    for place, item in enumerate(items):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ConfigurationError(
                f"Example {first + place} is {_describe_item(item)}; expected (input, target). Put "
                "several inputs into a tuple or dict of their own, ((a, b), target), and (input, "
                "None) if examples have no label; whole tensors go into a TensorDataset."
            )
    inputs = _collate_parts([item[0] for item in items], "input", first)
    targets = [item[1] for item in items]
    present = [target for target in targets if target is not None]
    if not present:
        return inputs, None
    targets = [present[0] if target is None else target for target in targets]
    return inputs, _collate_parts(targets, "target", first)


def find_missing(items: list[Any]) -> tuple[int, ...]:
    """Return the places of the examples without a target, where others have one."""
    missing = tuple(place for place, item in enumerate(items) if item[1] is None)
    return missing if len(missing) < len(items) else ()


def refuse_texts(inputs: Any, first: int) -> None:
    """Refuse inputs that hold text, which no network takes.

    Raises:
        ConfigurationError: If there is any.
    """
    for leaf in _find_leaves(inputs):
        if isinstance(leaf, str | bytes):
            raise ConfigurationError(
                f"Example {first} has the text {leaf!r:.40} in its input; expected tensors. Turn "
                "texts into numbers in the data set, as a tokenizer does."
            )


def _collate_parts(parts: list[Any], role: str, first: int) -> Any:
    kind = parts[0]
    is_list = role == "input" and isinstance(kind, list) and bool(kind)
    if is_list and all(isinstance(number, numbers.Number) for number in kind):
        raise ConfigurationError(
            f"Example {first} has a list of {len(kind)} numbers as its input; expected a tensor, "
            "because the parts of a list are passed to the model one by one. Put "
            "torch.tensor(input) into the data set."
        )
    try:
        collated = default_collate(parts)
    except (TypeError, ValueError, KeyError, RuntimeError, IndexError, AttributeError) as error:
        _explain(parts, role, first)
        raise ConfigurationError(
            f"The {role}s of the examples {first} to {first + len(parts) - 1} cannot be put into "
            f"one batch ({type(error).__name__}: {error}); expected the same parts in each. Mend "
            "the data set, or pass a DataLoader with a collate_fn of your own."
        ) from error
    if role == "input":
        refuse_texts(collated, first)
    return collated


def _explain(parts: list[Any], role: str, first: int) -> None:
    """Name the first example that has what cannot be collated, or another shape than the first."""
    for place, part in enumerate(parts):
        for leaf in _find_leaves(part):
            if leaf is None or not isinstance(leaf, Tensor | np.ndarray | numbers.Number | str):
                advice = "Turn it into one in the data set"
                if hasattr(leaf, "convert") and hasattr(leaf, "getbands"):
                    advice += ", with transform=torchvision.transforms.ToTensor() for instance"
                found = "None" if leaf is None else f"an object of type {type(leaf).__name__}"
                raise ConfigurationError(
                    f"Example {first + place} has {found} in its {role}; expected "
                    f"tensors, arrays or numbers. {advice}."
                )
    for place, part in enumerate(parts):
        before, now = _describe(parts[0]), _describe(part)
        if now != before:
            raise GradientError(
                f"Example {first + place} has the {role} {now}, and example {first} {before}; "
                f"expected the same in each, so that a batch is one tensor. {PADDING}"
            )


def _find_leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _find_leaves(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _find_leaves(item)
    else:
        yield value


def _describe(value: Any) -> str:
    """Return the shape of what an example holds."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(_describe(item) for item in value) + ")"
    if isinstance(value, Tensor | np.ndarray):
        return f"of shape {tuple(value.shape)}"
    return f"of type {type(value).__name__}"


def _describe_item(item: Any) -> str:
    if isinstance(item, Mapping):
        return f"a {type(item).__name__} with {', '.join(map(repr, item))}"[:200]
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {len(item)} parts"
    if isinstance(item, Tensor | np.ndarray):
        return f"a {type(item).__name__} of shape {tuple(item.shape)}"
    return f"of type {type(item).__name__}"
