"""Row i of every result is example i, the same at every reading; what cannot be read is named."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from tracin_core import Checkpoint, TracIn
from tracin_core.errors import ConfigurationError, GradientError

INPUTS = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 3
EXAMPLES = TensorDataset(INPUTS, LABELS)


def make_tracin(model: nn.Module | None = None) -> TracIn:
    torch.manual_seed(0)
    model = model or nn.Linear(4, 3)
    checkpoints = [Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=1.0)]
    return TracIn(model, checkpoints, device="cpu", batch_size=6)


class Made(Dataset[Any]):
    """Examples that a function makes."""

    def __init__(self, make: Callable[[int], Any], length: int = 20) -> None:
        self.make, self.length = make, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(EXAMPLES)

    def __len__(self) -> int:
        return 20


# Loaders.


def load(**options: Any) -> DataLoader[Any]:
    return DataLoader(EXAMPLES, **options)


def by_first_number(items: list[Any]) -> Any:
    return default_collate(sorted(items, key=lambda item: float(item[0][0])))


LOADERS: dict[str, tuple[Callable[[], DataLoader[Any]], str]] = {
    "random": (lambda: load(sampler=RandomSampler(EXAMPLES)), "shuffles or samples"),
    "weighted": (lambda: load(sampler=WeightedRandomSampler([1.0] * 20, 20)), "or samples"),
    "subset": (lambda: load(sampler=SubsetRandomSampler(range(20))), "shuffles or samples"),
    "positions": (lambda: load(sampler=list(range(20))[::-1]), "shuffles or samples"),
    "batches": (lambda: load(batch_sampler=[[0, 1], [2, 3]]), "shuffles or samples"),
    "random batches": (
        lambda: load(batch_sampler=BatchSampler(RandomSampler(EXAMPLES), 4, False)),
        "shuffles or samples",
    ),
    "batches that drop": (
        lambda: load(batch_sampler=BatchSampler(SequentialSampler(EXAMPLES), 6, True)),
        "drop_last=False",
    ),
    "a part": (lambda: load(sampler=SequentialSampler(range(10))), "takes 10 of the 20.*Subset"),
    "no batches": (lambda: load(batch_size=None), "batch_size=None, which makes no batches"),
    "a stream": (lambda: DataLoader(Stream()), "over Stream, which is an IterableDataset"),
    "sorting": (lambda: load(batch_size=6, collate_fn=by_first_number), "does not keep the order"),
    "mixing": (
        lambda: load(
            batch_size=6,
            collate_fn=lambda items: default_collate(random.sample(items, len(items))),
        ),
        "other batches of the same examples each time",
    ),
    "dropping": (
        lambda: load(batch_size=6, collate_fn=lambda items: default_collate(items[:4])),
        "gave 14 examples of a data set of 20",
    ),
    "doubling": (
        lambda: load(batch_size=6, collate_fn=lambda items: default_collate(items + items)),
        "gave at least 24 examples of a data set of 20",
    ),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_loaders_that_do_not_give_each_example_in_its_place_are_refused(kind: str) -> None:
    make, message = LOADERS[kind]
    for run in ("self_influence", "vectors", "capture"):
        with pytest.raises(ConfigurationError, match=message):
            getattr(make_tracin(), run)(make())


def pad(items: list[Any]) -> Any:
    lengths = [len(inputs) for inputs, _ in items]
    rows = [nn.functional.pad(row, (0, max(lengths) - len(row))) for row, _ in items]
    return torch.stack(rows), torch.tensor([label for _, label in items])


def test_a_collate_function_that_pads_is_taken() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(inputs.sum(1, keepdim=True))

    ragged = [(INPUTS[i, : 1 + i % 4], i % 3) for i in range(20)]
    tracin = make_tracin(Mean())
    one_by_one = torch.cat([tracin.self_influence([example]) for example in ragged])
    loader = DataLoader(ragged, batch_size=6, collate_fn=pad)
    torch.testing.assert_close(tracin.self_influence(loader), one_by_one)
    with pytest.raises(
        GradientError, match=r"Example 1 .*shape \(2,\), and example 0 .*\(1,\).*Pad"
    ):
        tracin.self_influence(ragged)


def test_loaders_in_order_give_what_the_examples_give() -> None:
    expected = make_tracin().self_influence(EXAMPLES)
    in_order = BatchSampler(SequentialSampler(EXAMPLES), 3, False)
    for loader in (
        load(batch_size=7),
        load(batch_sampler=in_order),
        load(batch_size=9, num_workers=1),
    ):
        torch.testing.assert_close(make_tracin().self_influence(loader), expected)


# Data sets.


class Doubled(TensorDataset):
    def __getitem__(self, index: int) -> Any:
        inputs, label = super().__getitem__(index)
        return 2 * inputs, label


def test_a_tensor_data_set_with_a_reading_of_its_own_is_read_by_it() -> None:
    expected = make_tracin().self_influence(TensorDataset(2 * INPUTS, LABELS))
    torch.testing.assert_close(make_tracin().self_influence(Doubled(INPUTS, LABELS)), expected)


RANDOM: dict[str, Callable[[int], Any]] = {
    "torch": lambda i: (INPUTS[i] + torch.rand(()), i % 3),
    "numpy": lambda i: (INPUTS[i] + float(np.random.rand()), i % 3),
    "python": lambda i: (INPUTS[i] + random.random(), i % 3),
    "labels": lambda i: (INPUTS[i], int(torch.randint(2**10, ())) % 3),
    "mirrored": lambda i: (INPUTS[i] if torch.rand(()) < 0.5 else INPUTS[i].flip(0), i % 3),
}


@pytest.mark.parametrize("source", RANDOM)
@pytest.mark.parametrize("form", ["data set", "loader"])
def test_examples_that_are_drawn_at_random_are_said(source: str, form: str) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    examples: Any = Made(RANDOM[source])
    if form == "loader":
        examples = DataLoader(examples, batch_size=5)
    tracin = make_tracin()
    with pytest.warns(RuntimeWarning, match=r"Example \d is another one when it is read again"):
        tracin.examine(examples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracin.examine(examples)  # once for each data set


@pytest.mark.parametrize("form", ["data set", "loader"])
def test_looking_at_examples_leaves_the_random_states(form: str) -> None:
    examples: Any = Made(lambda i: (INPUTS[i], i % 3))
    if form == "loader":
        examples = DataLoader(examples, batch_size=5, collate_fn=lambda rows: default_collate(rows))
    tracin = make_tracin()  # which seeds torch
    states = [torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()]
    tracin.self_influence(examples)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == [np.random.get_state()[1].tolist(), random.getstate()]


@pytest.mark.parametrize("place", [0, 1, 2, 9])
def test_same_examples_are_not_warned_of(place: int) -> None:
    broken = INPUTS.clone()
    broken[place] = torch.nan  # the same at every reading, though not equal to itself
    arrays = [({"input": row}, i % 3) for i, row in enumerate(INPUTS.numpy())]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_tracin().self_influence(arrays)
        with pytest.raises(GradientError, match=f"example {place} at checkpoint 0"):
            make_tracin().self_influence([(row, 0) for row in broken])


def replaced(place: int, item: Any) -> list[Any]:
    items: list[Any] = [(row, i % 3) for i, row in enumerate(INPUTS)]
    items[place] = item
    return items


class Pair(NamedTuple):
    inputs: Tensor
    target: int


UNREADABLE: dict[str, tuple[Any, str]] = {
    "no input": (replaced(4, (None, 0)), "Example 4 has None in its input"),
    "no item": (replaced(4, None), r"Example 4 is of type NoneType; expected \(input, target\)"),
    "three parts": (
        replaced(4, (1, 2, 3)),
        r"Example 4 is a tuple of 3 parts.*\(\(a, b\), target\)",
    ),
    "dict": ([{"x": row, "y": 0} for row in INPUTS], "Example 0 is a dict with 'x', 'y'"),
    "picture": ([(Image.new("L", (2, 2)), 0)] * 5, "type Image in its input.*ToTensor"),
    "text": ([("hello", 0)] * 5, "has the text 'hello' in its input.*tokenizer"),
    "list of numbers": ([(row.tolist(), 0) for row in INPUTS], "list of 4 numbers.*torch.tensor"),
    "other keys": (
        [({"a": row} if i != 1 else {"b": row}, 0) for i, row in enumerate(INPUTS)],
        r"Example 1 has the input \{b: of shape \(4,\)\}, and example 0 \{a:",
    ),
    "targets": (
        replaced(2, (INPUTS[2], torch.zeros(2))),
        "inputs|targets|Example 2 has the target",
    ),
    "stream": (Stream(), "examples of type Stream"),
    "length too long": (Made(lambda i: EXAMPLES[i], 30), "IndexError .* for example 20, .* is 30"),
    "no such key": ({"a": 1}, "raised KeyError"),
    "tensor": (INPUTS, r"Example 0 is a Tensor of shape \(4,\).*TensorDataset"),
    "arrays": ((INPUTS.numpy(), LABELS.numpy()[:9]), r"Example 0 is a ndarray of shape \(20, 4\)"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_named(kind: str) -> None:
    examples, message = UNREADABLE[kind]
    with pytest.raises((ConfigurationError, GradientError), match=message):
        make_tracin().self_influence(examples)


def test_positions_count_from_the_first_of_the_whole_set() -> None:
    with pytest.raises(ConfigurationError, match="Example 104 has None"):
        make_tracin().capture(replaced(4, (None, 0)), first_position=100)


def test_what_a_data_set_raises_says_for_which_example() -> None:
    def fail(index: int) -> Any:
        if index == 13:
            raise OSError("the file is broken")
        return EXAMPLES[index]

    with pytest.raises(OSError, match="the file is broken") as caught:
        make_tracin().self_influence(Made(fail))
    assert caught.value.__notes__ == ["Raised when example 13 was read."]


def test_pairs_of_any_kind_are_read() -> None:
    expected = make_tracin().self_influence(EXAMPLES)
    forms: list[Any] = [
        [Pair(row, i % 3) for i, row in enumerate(INPUTS)],
        [[row.numpy(), i % 3] for i, row in enumerate(INPUTS)],
        {i: EXAMPLES[i] for i in range(20)},
        [(row.clone().requires_grad_(), i % 3) for i, row in enumerate(INPUTS)],
        (INPUTS, LABELS),
        [INPUTS.numpy(), LABELS.numpy()],
    ]
    for examples in forms:
        torch.testing.assert_close(make_tracin().self_influence(examples), expected)


@pytest.mark.parametrize("kind", [torch.float64, torch.int64, torch.uint8, torch.float16])
def test_inputs_of_another_number_type_are_explained(kind: torch.dtype) -> None:
    examples = TensorDataset(INPUTS.to(kind), LABELS)
    name = str(kind).removeprefix("torch.")
    for layers in ("all", "last"):
        tracin = make_tracin()
        tracin.layers = layers
        with pytest.raises(GradientError, match=rf"{name}, its weights float32.*input\.float\(\)"):
            tracin.self_influence(examples)
