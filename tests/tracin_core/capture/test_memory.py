"""Where memory runs out, passes get smaller and the scores stay what they are."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests import oracles
from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.capture import runner
from tracin_core.capture.batching import read_batches
from tracin_core.capture.runner import RunContext
from tracin_core.capture.transfer import PendingCopy, ResultBuffer
from tracin_core.errors import GradientError


class Limited(nn.Module):
    """Runs out of memory with more than ``most`` examples at a time."""

    def __init__(self, most: int, layer: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), layer or nn.Linear(6, 3))
        self.most, self.sizes = most, list[int]()
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        self.sizes.append(len(inputs))
        if len(inputs) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return self.layers(inputs)


GENERATOR = torch.Generator().manual_seed(1)
EXAMPLES = TensorDataset(torch.randn(23, 4, generator=GENERATOR).double(), torch.arange(23) % 3)


def make_tracin(most: int, model: nn.Module | None = None, **options: Any) -> TracIn:
    model = model or Limited(most)
    later = {k: v + 0.1 for k, v in model.state_dict().items()}
    checkpoints = [
        Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=0.1),
        Checkpoint(later, learning_rate=0.2),
    ]
    return TracIn(model, checkpoints, device="cpu", **{"batch_size": 16, **options})


def results(tracin: TracIn) -> dict[str, Tensor]:
    test = TensorDataset(*EXAMPLES[:9])
    captured = tracin.capture(EXAMPLES, projection=Projection(8), last_layer_vectors=True)
    found = {name: value for name, value in vars(captured).items() if value is not None}
    return found | {
        "self-influence": tracin.self_influence(EXAMPLES),
        "influence": tracin.influence(EXAMPLES, test),
        "vectors": tracin.vectors(EXAMPLES),
        "projected": tracin.vectors(EXAMPLES, Projection(8)),
    }


@pytest.mark.parametrize("layers", ["all", "last"])
@pytest.mark.parametrize("most", [3, 5])
def test_batches_are_halved_until_they_fit(layers: str, most: int) -> None:
    limited = make_tracin(most, layers=layers)
    with pytest.warns(RuntimeWarning, match="Out of memory on cpu with .* at a time; going on"):
        found = results(limited)
    expected = results(make_tracin(10_000, layers=layers))
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, **oracles.EXACT)


def test_the_smaller_size_is_remembered_and_said_once() -> None:
    tracin = make_tracin(5)
    with pytest.warns(RuntimeWarning) as caught:
        tracin.self_influence(EXAMPLES)
    assert len(caught) == 1
    assert max(tracin.model.sizes[-4:]) <= 4  # 16, 8, and then 4
    tracin.model.sizes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracin.influence(EXAMPLES, EXAMPLES)
    assert max(tracin.model.sizes) <= 4


def test_progress_counts_every_example_once_at_each_checkpoint() -> None:
    done: list[tuple[int, int]] = []
    with pytest.warns(RuntimeWarning):
        make_tracin(3).self_influence(EXAMPLES, on_progress=lambda *n: done.append(n))
    assert [n for n, _ in done] == sorted({n for n, _ in done})
    assert done[-1] == (46, 46)


def test_one_example_that_does_not_fit_is_said() -> None:
    tracin = make_tracin(3)
    tracin.examine(EXAMPLES)
    tracin.model.most = 0
    with (
        pytest.warns(RuntimeWarning, match="Out of memory"),
        pytest.raises(GradientError, match="One example alone does not fit the memory of cpu"),
    ):
        tracin.self_influence(EXAMPLES)


def test_a_lack_of_memory_while_results_are_made_repeats_only_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pass succeeds; what comes after it, having laid out some results, does not."""
    add, failures = ResultBuffer.add, [3, 9]

    def fail_twice(self: ResultBuffer, target: Tensor, values: Tensor, check: Any = None) -> None:
        add(self, target, values, check)
        failures[:] = [count - 1 for count in failures]
        if 0 in failures:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    tracin = make_tracin(10_000)
    expected = tracin.capture(EXAMPLES, projection=Projection(8), last_layer_vectors=True)
    monkeypatch.setattr(ResultBuffer, "add", fail_twice)
    with pytest.warns(RuntimeWarning):
        found = tracin.capture(EXAMPLES, projection=Projection(8), last_layer_vectors=True)
    for name in ("vectors", "last_vectors", "squared_norms_all", "losses"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), **oracles.EXACT)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3).double()
            self.is_broken = False

        def forward(self, inputs: Tensor) -> Tensor:
            if self.is_broken:
                raise RuntimeError("shapes do not match")
            return self.layer(inputs)

    tracin = make_tracin(0, Broken())
    tracin.examine(EXAMPLES)
    tracin.model.is_broken = True
    with pytest.raises(RuntimeError, match="shapes do not match"):
        tracin.self_influence(EXAMPLES)


def test_results_that_wait_for_the_end_of_a_batch_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU, where a copy for every pass would hold it up."""
    expected = results(make_tracin(10_000))
    make, run_batch, order = ResultBuffer.__init__, RunContext._run_batch, list[str]()
    bring = PendingCopy.bring
    monkeypatch.setattr(ResultBuffer, "__init__", lambda self, *, waits: make(self, waits=True))

    def note_batch(self: RunContext, *arguments: Any) -> None:
        order.append("passes")
        run_batch(self, *arguments)

    def note_delivery(self: PendingCopy) -> None:
        order.append("deliver")
        bring(self)

    monkeypatch.setattr(RunContext, "_run_batch", note_batch)
    monkeypatch.setattr(PendingCopy, "bring", note_delivery)
    found = results(make_tracin(10_000))
    for name, values in expected.items():
        assert torch.equal(found[name].nan_to_num(), values.nan_to_num())
    # Two batches at two checkpoints: the second is under way before the first is waited for.
    assert order[:6] == ["passes"] * 4 + ["deliver"] * 2


def test_results_that_take_much_memory_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracin_core.capture.transfer.WAITING_BYTES", 90)
    buffer, target = ResultBuffer(waits=True), torch.zeros(20)
    buffer.put(target[:10], torch.ones(10))
    buffer.commit()
    assert not target.any()
    buffer.add(target[5:], torch.ones(15).double())
    buffer.commit()
    assert target.tolist() == [1.0] * 5 + [2.0] * 5 + [1.0] * 10


class Counted(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self) -> None:
        self.reads = [0] * len(EXAMPLES)

    def __len__(self) -> int:
        return len(EXAMPLES)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.reads[index] += 1
        return EXAMPLES[index]


@pytest.mark.parametrize(("resident", "times"), [(5, 1), (2, 2), (0, 4)])
def test_examples_are_read_once_for_all_checkpoints_that_fit(
    resident: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Limited(10_000)
    size = sum(value.nbytes for value in model.state_dict().values())
    monkeypatch.setattr(runner, "RESIDENT_BYTES", resident * size)
    state = copy.deepcopy(model.state_dict())
    checkpoints = [
        Checkpoint({k: v + 0.1 * i for k, v in state.items()}, learning_rate=0.1 + i)
        for i in range(4)
    ]
    tracin = TracIn(model, checkpoints, device="cpu", batch_size=8)
    tracin.examine(EXAMPLES)
    counted = Counted()
    found = tracin.self_influence(counted)
    # The first three are also looked at to choose how to compute, and the first eight are read
    # twice to see that they stay the same.
    extra = [1 + 2] * 3 + [2] * 5
    assert counted.reads == [times + more for more in extra] + [times] * 15
    tracin.self_influence(counted)
    assert counted.reads[7] == 2 * times + 2  # once for each data set
    expected = sum(
        TracIn(model, [one], device="cpu").self_influence(EXAMPLES) for one in checkpoints
    )
    torch.testing.assert_close(found, expected, **oracles.EXACT)


def test_positions_in_messages_count_from_the_first_of_the_whole_set() -> None:
    inputs, labels = (tensor.clone() for tensor in EXAMPLES.tensors)
    inputs[17] = torch.nan
    tracin = make_tracin(10_000, batch_size=4)
    with pytest.raises(GradientError, match="The gradient of example 1017 at checkpoint 0"):
        tracin.capture(TensorDataset(inputs, labels), first_position=1000)
    labels[9] = 7
    with pytest.raises(GradientError, match="Example 509 has the label 7"):
        tracin.capture(TensorDataset(EXAMPLES.tensors[0], labels), first_position=500)
    first = [(inputs[:4], labels[:4])]
    loader = DataLoader(
        EXAMPLES,
        batch_size=4,
        collate_fn=lambda rows: first.pop() if first else (inputs[:4], labels[:3]),
    )
    with pytest.raises(GradientError, match="The batch that begins with example 74 holds"):
        list(read_batches(loader, 4, offset=70))
