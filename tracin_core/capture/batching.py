"""Data sets as batches, read in order, so that row i is always example i.

The number of examples N, the check that a loader or data set gives each example once, in order and
the same each time, and single examples collated into a ``Batch``. What cannot be collated is named
with its position.
"""

from __future__ import annotations

import copy
import numbers
import warnings
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    default_collate,
)

from tracin_core.capture.loader_order import preserve_random_state, refuse_disorder
from tracin_core.capture.rows import Columns, is_row, open_columns, refuse_row, split_row
from tracin_core.errors import ConfigurationError, GradientError, TracInError
from tracin_core.gradients.nested import find_tensors, map_tensors


@dataclass(frozen=True)
class Batch:
    """A run of consecutive examples.

    Attributes:
        start: Position of the first.
        inputs: A tensor, tuple or dict of tensors, examples along the first axis.
        targets: Their targets, or ``None`` where examples have no label.
        size: Number of examples B.
        offset: What messages add to positions, where the examples are part of a larger set.
        missing: Places of the examples that came without a target, where others had one; the
            target of another stands in for theirs.
        parts: In a row as it came, mostly ``(input, target)``; 0 for a dict with labels inside.
    """

    start: int
    inputs: Any
    targets: Any
    size: int
    offset: int = 0
    missing: tuple[int, ...] = ()
    parts: int = 2
    _cuts: dict[int, list[Batch]] = field(default_factory=dict, init=False, compare=False)

    def pick(self, indices: list[int]) -> Batch:
        """Return chosen examples as a batch."""
        inputs, targets = map_tensors(lambda t: t[indices], (self.inputs, self.targets))
        missing = tuple(at for at, index in enumerate(indices) if index in self.missing)
        size = len(indices)
        return replace(self, inputs=inputs, targets=targets, size=size, missing=missing)

    def split(self, largest: int) -> list[Batch]:
        """Return the batch in parts of at most ``largest`` examples, which share its memory."""
        if self.size <= largest:
            return [self]
        # The same parts go through every checkpoint.
        if largest not in self._cuts:
            starts = range(0, self.size, largest)
            self._cuts[largest] = [self.cut(s, min(s + largest, self.size)) for s in starts]
        return self._cuts[largest]

    def cut(self, start: int, stop: int) -> Batch:
        """Return the examples from ``start`` to ``stop``, counted within the batch."""
        inputs, targets = map_tensors(lambda t: t[start:stop], (self.inputs, self.targets))
        missing = tuple(at - start for at in self.missing if start <= at < stop)
        return Batch(self.start + start, inputs, targets, stop - start, self.offset, missing)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; itself, where it is there already."""
        if all(t.device == device for t in find_tensors((self.inputs, self.targets))):
            return self
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with every tensor changed, examples and their order kept."""
        inputs, targets = map_tensors(function, (self.inputs, self.targets))
        return replace(self, inputs=inputs, targets=targets)


def read_batches(examples: Any, batch_size: int, offset: int = 0) -> Iterator[Batch]:
    """Yield all examples in order.

    Args:
        examples: A map-style dataset of ``(input, target)``, or of rows in another form that
            ``tracin_core/capture/rows.py`` knows; a pair ``(X, y)`` of tensors; or a DataLoader
            without shuffling, whose own batches are then taken.
        batch_size: Examples in a batch.
        offset: What messages add to positions.

    Yields:
        The batches; together they hold each example once.

    Raises:
        ConfigurationError: If ``examples`` shuffles, is no dataset, or a loader gives more or
            fewer examples than its dataset has.
        GradientError: If a batch is malformed.
    """
    total, examples = count_examples(examples), open_columns(examples)
    if isinstance(examples, DataLoader):
        start = 0
        for content in examples:
            if isinstance(content, Items):
                batch = _collate_batch(start, content, offset)
            else:
                batch = _make_batch(start, content, offset)
            start += batch.size
            if start > total:
                _refuse_number(start, total)
            yield batch
        if start < total:
            _refuse_number(start, total)
        return
    for start in range(0, total, batch_size):
        stop = min(start + batch_size, total)
        # A class of one's own may change what its tensors hold.
        if type(examples) is TensorDataset:
            columns = [tensor[start:stop] for tensor in examples.tensors]
            yield _make_batch(start, columns, offset)
        elif type(examples) is Columns:
            batch = _make_batch(start, examples.cut(start, stop), offset)
            yield replace(batch, parts=examples.parts)
        else:
            items = [read_example(examples, index, offset) for index in range(start, stop)]
            yield _collate_batch(start, items, offset)


class Items(list[Any]):
    """What a loader of ours hands over: its rows as they are, to be collated here."""


def open_loader(
    examples: Any, batch_size: int, collate_fn: Callable[[list[Any]], Any] | None, num_workers: int
) -> Any:
    """Return a DataLoader over a data set where one is needed; others as they are.

    Args:
        examples: What a person passed; a DataLoader stays what it is.
        batch_size: Examples in a batch.
        collate_fn: Makes a batch of rows; ``None`` leaves that to ``collate``.
        num_workers: Processes that read rows; 0 reads them here.
    """
    if isinstance(examples, DataLoader) or (collate_fn is None and not num_workers):
        return examples
    count_examples(examples)
    return DataLoader(
        open_columns(examples),
        batch_size,
        collate_fn=collate_fn or Items,
        num_workers=num_workers,
        # Its own, so that the caller's random numbers stay what they were.
        generator=torch.Generator(),
    )


def _collate_batch(start: int, items: list[Any], offset: int) -> Batch:
    batch = _make_batch(start, collate(items, offset + start), offset)
    return replace(batch, missing=find_without_target(items), parts=_count_parts(items[0]))


def _count_parts(content: Any) -> int:
    return 0 if isinstance(content, Mapping) else len(content)


def _make_batch(start: int, content: Any, offset: int) -> Batch:
    if not is_row(content):
        raise ConfigurationError(
            f"Found a batch of type {type(content).__name__} with "
            f"{len(content) if isinstance(content, Sized) else 'no'} parts; expected (inputs, "
            "targets), or a dict with 'labels'. Inputs with several tensors go in a tuple or dict "
            "of their own."
        )
    inputs, targets = split_row(content)
    refuse_texts(inputs, offset + start)
    tensors = list(find_tensors((inputs, targets)))
    sizes = {len(tensor) if tensor.dim() else 0 for tensor in tensors}
    if not tensors or len(sizes) != 1:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or "no tensor"
        raise GradientError(
            f"The batch that begins with example {offset + start} holds {shapes}; expected tensors "
            "with the examples along the first axis, the same number in each. Pad inputs of "
            "different lengths, or collate them with a DataLoader's collate_fn."
        )
    return Batch(start, inputs, targets, sizes.pop(), offset, parts=_count_parts(content))


def is_labelled(targets: Any) -> bool:
    """Return whether a batch has targets."""
    return any(isinstance(tensor, Tensor) for tensor in find_tensors(targets))


# Examples that are read twice, to see that they stay the same: one that is mirrored at random is
# found with a chance of 255 in 256.
READ_TWICE = 8
# Examples that are collated forwards and backwards, to see that their order is kept.
COLLATED_TWICE = 64


def count_examples(examples: Any) -> int:
    """Return the number of examples N.

    Raises:
        ConfigurationError: If ``examples`` is no map-style dataset, or shuffles.
    """
    if isinstance(examples, DataLoader):
        refuse_disorder(examples)
        return len(examples.dataset)  # type: ignore[arg-type]
    examples = open_columns(examples)
    usable = isinstance(examples, Sized) and hasattr(examples, "__getitem__")
    if usable and not isinstance(examples, IterableDataset):
        try:
            return len(examples)
        except TypeError:  # a data set may inherit a length that it has not
            pass
    raise ConfigurationError(
        f"Found examples of type {type(examples).__name__}; expected a map-style dataset of "
        "(input, target) with a length, or a DataLoader that does not shuffle. Put the "
        "examples in a list, or in a torch.utils.data.TensorDataset."
    )


def check_sameness(examples: Any, offset: int = 0) -> None:
    """Check on the first examples that they come in order, and are the same each time.

    The random state is left as it was.

    Args:
        examples: A map-style dataset or a DataLoader.
        offset: What messages add to positions.

    Raises:
        ConfigurationError: If a ``collate_fn`` puts them in another order.
    """
    loader = examples if isinstance(examples, DataLoader) else None
    dataset: Any = examples if loader is None else loader.dataset
    if type(open_columns(dataset)) in (TensorDataset, Columns) and loader is None:
        return
    if getattr(type(dataset), "__getitem__", None) is Dataset.__getitem__:
        return  # it is read in whole batches alone, which its maker has put together
    with preserve_random_state():
        before, after = (_read(dataset, min(READ_TWICE, len(dataset))) for _ in range(2))
        place = _find_first_difference(before, after)
        if place is not None:
            warnings.warn(
                f"Example {offset + place} is another one when it is read again: the data set "
                "draws its examples at random, as augmentation does. Scores are those of the "
                "examples as they happened to be read, and other ones next time. Pass the data "
                "set without its random transforms.",
                RuntimeWarning,
                stacklevel=2,
            )
        if loader is not None and loader.collate_fn not in (default_collate, Items):
            _check_order(loader, before)


def read_example(dataset: Any, index: int, offset: int = 0) -> Any:
    """Return one example.

    Raises:
        ConfigurationError: If the data set has none at this position.
    """
    try:
        return dataset[index]
    except (IndexError, KeyError) as error:
        raise ConfigurationError(
            f"The data set raised {type(error).__name__} ({error}) for example {offset + index}, "
            f"and its length is {len(dataset)}; expected an example at every position from 0. "
            "Mend its __len__ or __getitem__, or put the examples in a list."
        ) from error
    except TracInError:
        raise
    except Exception as error:
        error.add_note(f"Raised when example {offset + index} was read.")
        raise


def _check_order(loader: DataLoader[Any], items: list[Any]) -> None:
    """Refuse a ``collate_fn`` that does not keep the order of the examples, as by their length."""
    # A batch sampler of one's own says only in its batches how large they are.
    size = getattr(loader.batch_sampler, "batch_size", None) or COLLATED_TWICE
    size = min(size, COLLATED_TWICE, len(loader.dataset))  # type: ignore[arg-type]
    items = items[:size] if size <= len(items) else _read(loader.dataset, size)
    # A collate_fn may take its examples apart.
    forwards, again = (loader.collate_fn(copy.deepcopy(items)) for _ in range(2))
    # The first example behind the others: a collate_fn that turns its examples round would give
    # them turned round in the other order too.
    moved = loader.collate_fn(copy.deepcopy([*items[1:], *items[:1]]))
    rows, others = list(find_tensors(forwards)), list(find_tensors(moved))
    whole = [tensor for tensor in (*rows, *others) if tensor.dim() and len(tensor) != len(items)]
    if whole or len(rows) != len(others):
        return  # no rows of examples: reported where batches are made
    if not _are_same(rows, list(find_tensors(again))):
        raise ConfigurationError(
            "Found a DataLoader whose collate_fn gives other batches of the same examples each "
            "time, as mixing or masking at random does; expected the examples as they are. Pass "
            "loader.dataset, or a DataLoader with a collate_fn without chance."
        )
    if not _are_same(rows, [tensor.roll(1, 0) if tensor.dim() else tensor for tensor in others]):
        raise ConfigurationError(
            "Found a DataLoader whose collate_fn does not keep the order of the examples, as "
            "sorting them by length does; expected row i of a batch to be its example i. Leave "
            "sorting out of it (pack_padded_sequence takes enforce_sorted=False), or pass "
            "loader.dataset."
        )


def _are_same(left: Any, right: Any) -> bool:
    pairs = zip(find_tensors(_as_tensors(left)), find_tensors(_as_tensors(right)), strict=False)
    return all(a.shape == b.shape and torch.equal(_bits(a), _bits(b)) for a, b in pairs)


def _find_first_difference(left: list[Any], right: list[Any]) -> int | None:
    """Return the place of the first that is not the same in both."""
    pairs = zip(left, right, strict=True)
    return next((place for place, pair in enumerate(pairs) if not _are_same(*pair)), None)


def _as_tensors(value: Any) -> Any:
    """Return a structure with its arrays, numbers and texts as tensors; others are left out."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        return {key: _as_tensors(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_as_tensors(item) for item in value]
    if isinstance(value, bool | int | float | np.number):
        return torch.as_tensor(value)
    if isinstance(value, str | bytes):
        return torch.tensor(hash(value))
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(value.copy())
    return None


def _bits(tensor: Tensor) -> Tensor:
    """Return a tensor in which NaN is equal to itself."""
    return torch.nan_to_num(tensor.detach()) if tensor.is_floating_point() else tensor


PADDING = (
    "Pad them to one length in the data set, or pass a DataLoader whose collate_fn pads each batch."
)


def collate(items: list[Any], first: int) -> tuple[Any, Any]:
    """Return inputs and targets of some examples, each with the examples along the first axis.

    Args:
        items: The examples, ``(input, target)`` each, or rows of another form.
        first: What messages call the first of them.

    Returns:
        Inputs, and targets or ``None`` if no example has one; where only some have, the target of
        another stands in.

    Raises:
        ConfigurationError: If an example is no pair, or holds what is no number.
        GradientError: If shapes differ.
    """
    for place, item in enumerate(items):
        if not is_row(item) or _count_parts(item) != _count_parts(items[0]):
            refuse_row(item, first + place)
    rows = [split_row(item) for item in items]
    for place, (given, _) in enumerate(rows):
        if isinstance(given, dict) and not given:
            refuse_texts(items[place], first + place)
    inputs = _collate_parts([row[0] for row in rows], "input", first)
    targets = [row[1] for row in rows]
    present = [target for target in targets if target is not None]
    if not present:
        return inputs, None
    targets = [present[0] if target is None else target for target in targets]
    return inputs, _collate_parts(targets, "target", first)


def find_without_target(items: list[Any]) -> tuple[int, ...]:
    """Return the places of the examples without a target, where others have one."""
    missing = tuple(place for place, item in enumerate(items) if split_row(item)[1] is None)
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


def describe_inputs(batch: Batch) -> tuple[Any, ...]:
    """Return what plans are remembered by: number types and axes of a batch's tensors."""
    tensors = find_tensors((batch.inputs, batch.targets))
    return tuple((tensor.dtype, tensor.dim()) for tensor in tensors)


def count_numbers(batch: Batch | None) -> int:
    """Return the numbers in the inputs of one example of a batch."""
    if batch is None:
        return 0
    return sum(tensor[0].numel() for tensor in find_tensors(batch.inputs))


def _read(dataset: Any, count: int) -> list[Any]:
    return [read_example(dataset, index) for index in range(count)]


def _refuse_number(found: int, total: int) -> None:
    raise ConfigurationError(
        f"The DataLoader gave {'at least ' if found > total else ''}{found} examples of a data set "
        f"of {total}; expected every example once. Let its collate_fn return each of its examples "
        "once, and none twice."
    )
