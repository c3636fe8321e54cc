"""A gradient stays with its example, whatever the network does inside."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import GradientError
from tracin_core.gradients import hooks

LENGTH, WORDS, WIDTH, CLASSES = 9, 20, 4, 3


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def make_texts(size: int, lengths: list[int] | None = None) -> TensorDataset:
    """Texts of word numbers, padded with zeros behind."""
    draw = torch.Generator().manual_seed(1)
    texts = torch.randint(1, WORDS, (size, LENGTH), generator=draw)
    drawn = torch.randint(2, LENGTH + 1, (size,), generator=draw).tolist()
    for row, length in enumerate([*(lengths or []), *drawn][:size]):
        texts[row, length:] = 0
    return TensorDataset(texts, torch.arange(size) % CLASSES)


def make_rows(size: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(2)
    rows = torch.randn(size, WIDTH, generator=draw, dtype=torch.float64)
    return TensorDataset(rows, torch.arange(size) % CLASSES)


def open_tracin(model: nn.Module, batch_size: int = 8) -> TracIn:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return TracIn(
        model, [Checkpoint(state, learning_rate=1.0)], device="cpu", batch_size=batch_size
    )


def assert_exact(
    model: nn.Module, examples: TensorDataset, batch_size: int = 8, *, by_rules: bool = True
) -> TracIn:
    model = model.double().eval()
    expected = oracles.per_example_gradients(model, examples, loss)
    tracin = open_tracin(model, batch_size)
    torch.testing.assert_close(tracin.vectors(examples), expected, **oracles.EXACT)
    torch.testing.assert_close(
        tracin.self_influence(examples), expected.square().sum(1), **oracles.EXACT
    )
    torch.testing.assert_close(
        tracin.influence(examples, examples), expected @ expected.T, **oracles.EXACT
    )
    if by_rules:
        assert {entry.method for entry in tracin.coverage} == {"rule"}, str(tracin.coverage)
        assert "one example at a time" not in str(tracin.coverage)
    return tracin


class Reader(nn.Module):
    """Embeds words, packs them, and reads them with a recurrent layer."""

    def __init__(self, kind: type[nn.RNNBase] = nn.GRU, *, sorts: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.recurrent = kind(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.sorts = sorts

    def forward(self, texts: Tensor) -> Tensor:
        lengths = (texts != 0).sum(1)
        order = lengths.argsort(descending=True) if self.sorts else torch.arange(len(texts))
        packed = nn.utils.rnn.pack_padded_sequence(
            self.words(texts[order]), lengths[order], batch_first=True, enforce_sorted=self.sorts
        )
        last = self.recurrent(packed)[1]
        last = last[0] if isinstance(last, tuple) else last
        return self.head(last[-1][order.argsort()])


@pytest.mark.parametrize("sorts", [False, True], ids=["packed", "sorted and put back"])
@pytest.mark.parametrize(
    ("kind", "lengths"),
    [
        (nn.GRU, [9, 8, 7]),
        (nn.GRU, [9, 9, 9]),
        (nn.GRU, [9] * 20),
        (nn.LSTM, [9] * 20),
        (nn.RNN, [9, 8, 7]),
    ],
    ids=str,
)
def test_packed_and_sorted_texts_are_exact(
    kind: type[nn.RNNBase], lengths: list[int], *, sorts: bool
) -> None:
    # From seventeen rows on, torch's sort moves equal ones.
    assert_exact(Reader(kind, sorts=sorts), make_texts(20, lengths), 18)


class Routed(nn.Module):
    """Each example goes through the expert that its first number chooses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, rows: Tensor) -> Tensor:
        chosen = (rows[:, 0] * 2).floor().clamp(-2, 1).long() + 2
        found = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            own = (chosen == number).nonzero()[:, 0]
            if len(own):
                found = found.index_add(0, own, expert(rows[own]))
        return self.head(found.tanh())


class Unpadded(nn.Module):
    """Words of all texts end to end, summed by text."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.inner = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, texts: Tensor) -> Tensor:
        present = texts != 0
        owners = present.nonzero()[:, 0]
        words = self.norm(self.inner(self.words(texts[present])).tanh())
        return self.head(words.new_zeros(len(texts), WIDTH).index_add(0, owners, words))


class ByHand(nn.Module):
    """One row after the other, in the order of their first numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, rows: Tensor) -> Tensor:
        order = sorted(range(len(rows)), key=lambda row: float(rows[row, 0]))
        inner = self.inner(torch.stack([rows[row] for row in order])).tanh()
        return self.head(torch.stack([inner[order.index(row)] for row in range(len(rows))]))


class SortedExperts(nn.Module):
    """Every row meets its two best of four matrices, in the order of these."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.front, self.router = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4, bias=False)
        self.stack = nn.Parameter(torch.randn(4, WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, rows: Tensor) -> Tensor:
        hidden = self.front(rows).tanh()
        weights, chosen = self.router(hidden).topk(2, dim=-1)
        numbers, order = chosen.flatten().sort()
        ends = torch.bincount(numbers, minlength=4).cumsum(0).to(torch.int32)
        found = F.grouped_mm(hidden[order // 2], self.stack, offs=ends)
        found = (found * weights.flatten()[order].unsqueeze(1))[order.argsort()]
        return self.head(found.view(len(rows), 2, WIDTH).sum(1))


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="this torch has no grouped_mm")
def test_rows_sorted_by_expert_are_exact_by_one_backward_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, (rows, labels) = SortedExperts(), make_rows(20).tensors
    examples = TensorDataset(rows.float(), labels)
    tracin = open_tracin(model)
    tracin.examine(examples)
    monkeypatch.delattr(hooks, "differentiate_marked")  # which would be a second pass
    expected = oracles.per_example_gradients(model, examples, loss)
    torch.testing.assert_close(tracin.vectors(examples), expected, **oracles.SINGLE)
    found = tracin.self_influence(examples)
    torch.testing.assert_close(found, expected.square().sum(1), **oracles.SINGLE)
    assert {entry.method for entry in tracin.coverage} == {"rule"}


@pytest.mark.parametrize("batch_size", [1, 3, 8, 17])
def test_routed_examples_are_exact_by_rules(batch_size: int) -> None:
    assert_exact(Routed(), make_rows(20), batch_size)


def test_texts_laid_end_to_end_are_exact_by_rules() -> None:
    assert_exact(Unpadded(), make_texts(21), 8)


def test_rows_that_python_puts_in_order_are_exact() -> None:
    assert_exact(ByHand(), make_rows(13), 5)


MOVES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "mirrored": (lambda rows: rows.flip(0), lambda rows: rows.flip(0)),
    "rolled": (lambda rows: rows.roll(1, 0), lambda rows: rows.roll(-1, 0)),
    # As they were with three examples, and not with more.
    "all but three mirrored": (
        lambda rows: torch.cat([rows[:3], rows[3:].flip(0)]),
        lambda rows: torch.cat([rows[:3], rows[3:].flip(0)]),
    ),
    "interleaved": (
        lambda rows: torch.cat([rows[::2], rows[1::2]]),
        lambda rows: rows[
            torch.cat([torch.arange(len(rows))[::2], torch.arange(len(rows))[1::2]]).argsort()
        ],
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_rows_moved_by_their_places_and_back_are_exact(name: str) -> None:
    there, back = MOVES[name]

    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

        def forward(self, rows: Tensor) -> Tensor:
            return self.head(back(self.inner(there(rows)).tanh()))

    assert_exact(Moved(), make_rows(14), 6)


@pytest.mark.parametrize("reentrant", [False, True])
def test_blocks_that_are_computed_again_are_exact(*, reentrant: bool) -> None:
    class Recomputed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
            self.block = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
            self.again = True

        def forward(self, rows: Tensor) -> Tensor:
            inner = self.first(rows).tanh()
            if not self.again:
                return self.head(self.block(inner))
            return self.head(checkpoint(self.block, inner, use_reentrant=reentrant))

    model = Recomputed().double().eval()
    found = open_tracin(model).vectors(make_rows(11))
    # The oracle itself cannot differentiate a reentrant block.
    model.again = False
    expected = oracles.per_example_gradients(model, make_rows(11), loss)
    torch.testing.assert_close(found, expected, **oracles.EXACT)


def test_a_single_image_before_a_batch_norm_is_exact() -> None:
    """Torch's BatchNorm is wrong by as much as the gradient for a batch of one such image."""

    class Images(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.norm = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6)
            self.head = nn.Linear(6, CLASSES)
            self.odd = nn.Parameter(torch.randn(6))  # below a root: no rule, so the fallback

        def forward(self, images: Tensor) -> Tensor:
            found = self.norm(self.conv(images)).permute(0, 3, 2, 1)
            weights = torch.linspace(-1, 1, found[0].numel(), dtype=found.dtype)
            found = (found * weights.view(found.shape[1:])).sum((1, 2)).tanh()
            return self.head(torch.hypot(found, self.odd))

    model = Images().double().eval()
    model.norm.running_var.uniform_(0.5, 2)
    examples = TensorDataset(torch.randn(5, 1, 6, 7).double(), torch.arange(5) % CLASSES)
    inputs, targets = examples.tensors
    parameters = list(model.parameters())
    expected = []
    for row in range(5):
        # In its own company: see above.
        value = loss(model(inputs[[row, row]]), targets[[row, row]])[0]
        gradients = torch.autograd.grad(value, parameters)
        expected.append(torch.cat([gradient.flatten() for gradient in gradients]))
    for batch_size in (1, 4):
        found = open_tracin(model, batch_size).vectors(examples)
        torch.testing.assert_close(found, torch.stack(expected), **oracles.EXACT)


def test_a_model_that_casts_a_module_in_its_forward_pass_does_not_end_the_process() -> None:
    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
            self.odd = nn.Parameter(torch.ones(WIDTH))

        def forward(self, rows: Tensor) -> Tensor:
            self.inner = self.inner.to(rows.dtype)
            return self.head(self.inner(torch.hypot(rows, self.odd)).tanh())

    tracin = assert_exact(Casting(), make_rows(7), by_rules=False)
    assert tracin.coverage["odd"].method == "one example at a time"


def test_outputs_that_share_a_capacity_are_refused() -> None:
    class Crowded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.head = nn.Linear(WIDTH, CLASSES)

        def forward(self, rows: Tensor) -> Tensor:
            # Room for three: the trial's fit.
            return self.head(rows) * (torch.arange(len(rows)) < 3)[:, None]

    with pytest.raises(GradientError, match="half of that batch"):
        open_tracin(Crowded().double()).self_influence(make_rows(8))


def test_parameters_that_some_batches_read_otherwise_are_exact_and_told() -> None:
    class Changing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

        def forward(self, rows: Tensor) -> Tensor:
            found, far = self.inner(rows).tanh(), rows[:, :1] > 0.5
            if far.any():
                found = found + far * (rows @ self.inner.weight.T).sin()
            return self.head(found)

    rows, targets = make_rows(9).tensors
    examples = TensorDataset(rows[rows[:, 0].argsort()], targets)
    with pytest.warns(RuntimeWarning, match="inner.weight.* one example at a time"):
        tracin = assert_exact(Changing(), examples, 4, by_rules=False)
    assert "read outside of its layer's call" in str(tracin.coverage)


def test_threads_that_share_a_model_take_turns() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, CLASSES)).double()
    examples = make_rows(12)
    runs = []
    for scale in (1.0, 3.0):
        state = {name: value * scale for name, value in model.state_dict().items()}
        runs.append(TracIn(model, [Checkpoint(state, learning_rate=1.0)], batch_size=2))
    expected = [run.self_influence(examples) for run in runs]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            if not torch.equal(runs[number].self_influence(examples), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_parts_that_no_example_goes_through_are_exact() -> None:
    class Sliced(nn.Module):
        """Turns the first numbers of a row and leaves the rest, of which there are none."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

        def forward(self, rows: Tensor) -> Tensor:
            inner = self.inner(rows)
            turned, rest = inner[:, :WIDTH].sin(), inner[:, WIDTH:]
            return self.head(torch.cat([turned, 2 * rest], 1))

    assert_exact(Sliced(), make_rows(7), 3)
