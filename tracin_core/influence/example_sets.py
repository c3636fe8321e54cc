"""Sets of examples: how many there are, and whether row i will always be example i."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from tracin_core.errors import ConfigurationError, TracInError
from tracin_core.gradients.structure import find_tensors

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
        _refuse_disorder(examples)
        return len(examples.dataset)  # type: ignore[arg-type]
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
    if type(dataset) is TensorDataset and loader is None:
        return
    if getattr(type(dataset), "__getitem__", None) is Dataset.__getitem__:
        return  # it is read in whole batches alone, which its maker has put together
    with _random_state_kept():
        before, after = (_read(dataset, min(READ_TWICE, len(dataset))) for _ in range(2))
        place = _find_other(before, after)
        if place is not None:
            warnings.warn(
                f"Example {offset + place} is another one when it is read again: the data set "
                "draws its examples at random, as augmentation does. Scores are those of the "
                "examples as they happened to be read, and other ones next time. Pass the data "
                "set without its random transforms.",
                RuntimeWarning,
                stacklevel=2,
            )
        if loader is not None and loader.collate_fn is not default_collate:
            _check_order(loader, before)


def _refuse_disorder(loader: DataLoader[Any]) -> None:
    """Refuse a loader that does not give every example once and in order."""
    dataset, batches = loader.dataset, loader.batch_sampler
    if isinstance(dataset, IterableDataset):
        raise ConfigurationError(
            f"Found a DataLoader over {type(dataset).__name__}, which is an IterableDataset; "
            "expected a map-style data set with a length, because row i of the scores is example "
            "i. Put the examples in a list, or in a torch.utils.data.TensorDataset."
        )
    if batches is None:
        raise ConfigurationError(
            "Found a DataLoader with batch_size=None, which makes no batches; expected one that "
            "does. Pass loader.dataset, or a batch_size."
        )
    # A batch sampler of one's own has a sampler of its own; the loader's is then a dummy.
    sampler = batches.sampler if type(batches) is BatchSampler else None
    if type(loader.sampler) is not SequentialSampler or type(sampler) is not SequentialSampler:
        raise ConfigurationError(
            "Found a DataLoader that shuffles or samples; expected every example once, in order, "
            "because row i of the scores is example i. Pass loader.dataset, or a DataLoader "
            "with shuffle=False."
        )
    total = len(dataset)  # type: ignore[arg-type]
    if len(sampler) != total:
        raise ConfigurationError(
            f"Found a DataLoader whose sampler takes {len(sampler)} of the {total} examples; "
            "expected every example once. Pass loader.dataset, or for a part of it "
            "torch.utils.data.Subset(dataset, range(...))."
        )
    assert isinstance(batches, BatchSampler)  # noqa: S101 - seen above
    if (loader.drop_last or batches.drop_last) and total % batches.batch_size:
        raise ConfigurationError(
            "Found a DataLoader with drop_last=True, which leaves the last examples out; "
            "expected every example once. Pass loader.dataset, or drop_last=False."
        )


def _read(dataset: Any, count: int) -> list[Any]:
    return [read_example(dataset, index) for index in range(count)]


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
    assert isinstance(loader.batch_sampler, BatchSampler)  # noqa: S101 - refused otherwise
    size = min(loader.batch_sampler.batch_size, COLLATED_TWICE, len(loader.dataset))  # type: ignore[arg-type]
    items = items[:size] if size <= len(items) else _read(loader.dataset, size)
    # A collate_fn may take its examples apart.
    forwards, again = (loader.collate_fn(copy.deepcopy(items)) for _ in range(2))
    backwards = loader.collate_fn(copy.deepcopy(items)[::-1])
    rows, others = list(find_tensors(forwards)), list(find_tensors(backwards))
    whole = [tensor for tensor in (*rows, *others) if tensor.dim() and len(tensor) != len(items)]
    if whole or len(rows) != len(others):
        return  # no rows of examples: reported where batches are made
    if not _are_same(rows, list(find_tensors(again))):
        raise ConfigurationError(
            "Found a DataLoader whose collate_fn gives other batches of the same examples each "
            "time, as mixing or masking at random does; expected the examples as they are. Pass "
            "loader.dataset, or a DataLoader with a collate_fn without chance."
        )
    if not _are_same(rows, [tensor.flip(0) if tensor.dim() else tensor for tensor in others]):
        raise ConfigurationError(
            "Found a DataLoader whose collate_fn does not keep the order of the examples, as "
            "sorting them by length does; expected row i of a batch to be its example i. Leave "
            "sorting out of it (pack_padded_sequence takes enforce_sorted=False), or pass "
            "loader.dataset."
        )


def _are_same(left: Any, right: Any) -> bool:
    pairs = zip(find_tensors(_as_tensors(left)), find_tensors(_as_tensors(right)), strict=False)
    return all(a.shape == b.shape and torch.equal(_bits(a), _bits(b)) for a, b in pairs)


def _find_other(left: list[Any], right: list[Any]) -> int | None:
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


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Give the random states of torch, NumPy and Python back."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
