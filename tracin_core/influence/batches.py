"""Read examples in order, batch by batch, so that row i is always example i."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from tracin_core.errors import ConfigurationError, GradientError
from tracin_core.gradients.structure import find_tensors, map_tensors
from tracin_core.influence.collating import collate, find_missing, refuse_texts
from tracin_core.influence.example_sets import count_examples, read_example


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
    """

    start: int
    inputs: Any
    targets: Any
    size: int
    offset: int = 0
    missing: tuple[int, ...] = ()
    _parts: dict[int, list[Batch]] = field(default_factory=dict, init=False, compare=False)

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
        if largest not in self._parts:
            starts = range(0, self.size, largest)
            self._parts[largest] = [self.cut(s, min(s + largest, self.size)) for s in starts]
        return self._parts[largest]

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
        examples: A map-style dataset of ``(input, target)``, or a DataLoader without shuffling,
            whose own batches are then taken.
        batch_size: Examples in a batch.
        offset: What messages add to positions.

    Yields:
        The batches; together they hold each example once.

    Raises:
        ConfigurationError: If ``examples`` shuffles, is no dataset, or a loader gives more or
            fewer examples than its dataset has.
        GradientError: If a batch is malformed.
    """
    total = count_examples(examples)
    if isinstance(examples, DataLoader):
        start = 0
        for content in examples:
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
        else:
            items = [read_example(examples, index, offset) for index in range(start, stop)]
            batch = _make_batch(start, collate(items, offset + start), offset)
            yield replace(batch, missing=find_missing(items))


def _refuse_number(found: int, total: int) -> None:
    raise ConfigurationError(
        f"The DataLoader gave {'at least ' if found > total else ''}{found} examples of a data set "
        f"of {total}; expected every example once. Let its collate_fn return each of its examples "
        "once, and none twice."
    )


def _make_batch(start: int, content: Any, offset: int) -> Batch:
    if not isinstance(content, tuple | list) or len(content) != 2:
        raise ConfigurationError(
            f"Found a batch of type {type(content).__name__} with "
            f"{len(content) if isinstance(content, Sized) else 'no'} parts; expected (inputs, "
            "targets). Inputs with several tensors go in a tuple or dict of their own."
        )
    inputs, targets = content
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
    return Batch(start, inputs, targets, sizes.pop(), offset)


def is_labelled(targets: Any) -> bool:
    """Whether a batch has targets."""
    return any(isinstance(tensor, Tensor) for tensor in find_tensors(targets))
