"""The forms in which examples come, made into inputs and target.

A row, or a batch of a loader, is ``(input, target)``; ``[x0, x1, y]``, several inputs with the
target last, as captum's data sets have them; or a dict with the labels inside, as the collators of
a transformers ``Trainer`` make them. A pair ``(X, y)`` of tensors stands for a data set, as does
a dict of whole columns with the labels among them. What could be read in two ways is refused with
the way to say it.
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tracin_core.errors import ConfigurationError
from tracin_core.gradients.nested import find_tensors, map_tensors

# The keys under which a Trainer's collators look for labels.
LABEL_KEYS = ("labels", "label", "label_ids")


class Columns(Dataset[Any]):
    """A data set of whole tensors: inputs and targets with the examples along the first axis.

    Args:
        inputs: A tensor, or a structure of tensors.
        targets: The targets.
        parts: In a row as it was given: 0 for a dict with the labels inside.
    """

    def __init__(self, inputs: Any, targets: Tensor, parts: int = 2) -> None:
        self.inputs, self.targets, self.parts = inputs, targets, parts

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        inputs, targets = self.cut(index, index + 1)
        return map_tensors(lambda tensor: tensor[0], inputs), targets[0]

    def cut(self, start: int, stop: int) -> tuple[Any, Tensor]:
        """Return the inputs and targets from ``start`` to ``stop``."""
        return map_tensors(lambda tensor: tensor[start:stop], self.inputs), self.targets[start:stop]


def open_columns(examples: Any) -> Any:
    """Return whole tensors or arrays as a data set; others as they are.

    Args:
        examples: A pair ``(X, y)`` or a dict of columns with the labels inside, or anything else.
    """
    if isinstance(examples, Mapping):
        return _open_dict(examples)
    if not isinstance(examples, tuple | list) or len(examples) != 2:
        return examples
    inputs, targets = examples
    if not isinstance(targets, Tensor | np.ndarray) or not targets.ndim:
        return examples
    inputs, targets = _as_tensors(inputs), torch.as_tensor(targets)
    if isinstance(examples, list) and isinstance(inputs, Tensor) and inputs.shape == targets.shape:
        return examples  # a data set of two inputs without their targets
    tensors = list(find_tensors(inputs))
    if not tensors or any(not t.dim() or len(t) != len(targets) for t in tensors):
        return examples
    return Columns(inputs, targets)


def _open_dict(examples: Mapping[Any, Any]) -> Any:
    """Return a dict of columns as a data set; one without labels, by position, as it is.

    Raises:
        ConfigurationError: If its columns have no common length, or two of them are labels.
    """
    there = [key for key in LABEL_KEYS if key in examples]
    if not there:
        return examples
    columns = {
        key: _as_tensors(_read_list(value))
        for key, value in examples.items()
        if not _is_text(value)
    }
    lengths = {key: _count_rows(value) for key, value in columns.items()}
    sizes = {*lengths.values()}
    if len(there) > 1 or len(columns) < 2 or len(sizes) > 1 or None in sizes:
        found = ", ".join(f"{key!r}: {length or 'no column'}" for key, length in lengths.items())
        raise ConfigurationError(
            f"Found a dict with labels and columns of these lengths: {found}; expected tensors or "
            f"arrays with the N examples along the first axis, one of them {LABEL_KEYS[0]!r} or "
            f"{LABEL_KEYS[1]!r}. Bring all to one length, or pass a list of rows."
        )
    targets = columns.pop(there[0])
    return Columns(columns, targets, parts=0)


def _count_rows(column: Any) -> int | None:
    """Return how many rows a column has; ``None`` for what is no column."""
    return len(column) if isinstance(column, Tensor) and column.dim() else None


def _as_tensors(value: Any) -> Any:
    """Return inputs with their arrays as tensors."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(value)
    if isinstance(value, Mapping):
        return {key: _as_tensors(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_as_tensors(item) for item in value)
    return value


def is_row(item: Any) -> bool:
    """Return whether a row, or a batch, has inputs and a target that can be told apart."""
    if isinstance(item, Mapping):
        return sum(key in item for key in LABEL_KEYS) == 1 and len(item) > 1
    return isinstance(item, tuple | list) and (len(item) == 2 or _has_inputs(item))


def _has_inputs(item: tuple[Any, ...] | list[Any]) -> bool:
    """Return whether more than two parts are inputs and a target, and no list of numbers."""
    kinds = Tensor, np.ndarray, Mapping
    return len(item) > 2 and all(isinstance(part, kinds) for part in item[:-1])


def split_row(item: Any) -> tuple[Any, Any]:
    """Return input and target of a row, or of a batch.

    Of a dict what is text, or nothing, is left out, as a Trainer leaves out what its model does not
    take; lists of numbers become tensors, as in its collators.

    Args:
        item: What ``is_row`` knows.
    """
    if isinstance(item, Mapping):
        key = next(key for key in LABEL_KEYS if key in item)
        inputs = {
            name: _read_list(value)
            for name, value in item.items()
            if name not in LABEL_KEYS and not _is_text(value)
        }
        return inputs, _read_list(item[key])
    return (item[0], item[1]) if len(item) == 2 else (tuple(item[:-1]), item[-1])


def _is_text(value: Any) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return first is None or isinstance(first, str | bytes)


def _read_list(value: Any) -> Any:
    """Return a list of numbers as a tensor; what is ragged stays, and is named where it fails."""
    if not isinstance(value, list):
        return value
    try:
        return torch.as_tensor(value)
    except (ValueError, TypeError, RuntimeError):
        return value


def check_call(model: nn.Module, inputs: Any, parts: int) -> None:
    """Refuse rows whose parts cannot be the model's inputs, or need not be.

    A row ``(x, y, weight)`` looks like two inputs and a target. The model's ``forward`` says
    whether it takes so many.

    Args:
        model: The model.
        inputs: Of the first batch.
        parts: In a row; 0 for a dict with the labels inside.

    Raises:
        ConfigurationError: If ``forward`` takes other inputs, or could do with fewer and the last
            of them may be a label.
    """
    if parts == 2:
        return
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # a forward from C++ tells nothing
        return
    name = type(model).__name__
    if isinstance(inputs, Mapping):
        _check_names(signature, name, inputs)
        return
    if not _takes(signature, len(inputs)):
        raise ConfigurationError(
            f"Rows have {parts} parts, which is {len(inputs)} inputs and a target; {name}.forward"
            f"{signature} takes another number. Put (input, target) in the data set, without what "
            "the model does not take, such as a weight or an id."
        )
    if _takes(signature, len(inputs) - 1) and inputs[-1].dim() == 1:
        raise ConfigurationError(
            f"Rows have {parts} parts, and {name}.forward{signature} does with one input fewer, so "
            f"either of the last two may be the target; expected rows that say it. Put "
            "((a, b), target) in the data set."
        )


def _check_names(signature: inspect.Signature, name: str, inputs: Mapping[str, Any]) -> None:
    known = signature.parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values()):
        return
    strange = [key for key in inputs if key not in known]
    if strange:
        raise ConfigurationError(
            f"Rows have {', '.join(map(repr, strange))}, which {name}.forward does not take; "
            f"expected some of {', '.join(known)}, and the labels. Leave them out: a data set of "
            f"the datasets library has remove_columns({strange!r})."
        )


def _takes(signature: inspect.Signature, count: int) -> bool:
    """Return whether a function takes so many arguments by position."""
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def describe_item(item: Any) -> str:
    """Return what a row is, for a message."""
    if isinstance(item, Mapping):
        return f"a {type(item).__name__} with {', '.join(map(repr, item))}"[:200]
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {len(item)} parts"
    if isinstance(item, Tensor | np.ndarray):
        return f"a {type(item).__name__} of shape {tuple(item.shape)}"
    return f"of type {type(item).__name__}"


def refuse_row(item: Any, place: int) -> None:
    """Refuse a row that has no input and target.

    Raises:
        ConfigurationError: Always.
    """
    found, advice = describe_item(item), ""
    if isinstance(item, Mapping):
        there = [key for key in LABEL_KEYS if key in item]
        advice = (
            f"It has the labels {' and '.join(map(repr, there))}: leave one. "
            if len(there) > 1
            else "A dict needs a key 'labels' or 'label' beside its inputs. "
        )
    elif isinstance(item, tuple | list) and all(isinstance(n, numbers.Number) for n in item):
        advice = "Numbers alone do not say which are inputs. "
    raise ConfigurationError(
        f"Example {place} is {found}; expected (input, target). {advice}Put several inputs into a "
        "tuple or dict of their own, ((a, b), target), and (input, None) if examples have no "
        "label; whole tensors go into a pair (X, y) or a TensorDataset."
    )
