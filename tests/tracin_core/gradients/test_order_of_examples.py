"""Examples that networks move by numbers which are no indices, after a batch in plain order."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tracin_core import Checkpoint, TracIn
from tracin_core.errors import GradientError
from tracin_core.gradients import hooks
from tracin_core.gradients.graph.places import ListedRows, Place
from tracin_core.gradients.graph.survey import survey_graph

COUNT, SIZE, WIDTH, LONGEST = 32, 8, 4, 5

# Rows as they lie, the matrix that puts them back -> the rows put back.
PutBack = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def differentiate_alone(model: nn.Module, data: TensorDataset) -> Tensor:
    """Squared gradient norms in float64, one example beside a copy of itself after the other."""
    model = copy.deepcopy(model).double()
    found = []
    for inputs, target in data:
        pair = torch.stack([inputs, inputs])
        pair = pair.double() if pair.is_floating_point() else pair
        loss = cross_entropy(model(pair), torch.stack([target, target]))[0]
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        found.append(sum((gradient**2).sum() for gradient in gradients))
    return torch.stack(found)


def score(model: nn.Module, data: TensorDataset) -> Tensor:
    checkpoint = Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=1.0)
    return TracIn(model, [checkpoint], batch_size=SIZE).self_influence(data).double()


def assert_alone(model: nn.Module, data: TensorDataset) -> None:
    model.eval()
    right = differentiate_alone(model, data)
    torch.testing.assert_close(score(model, data), right, rtol=1e-5, atol=1e-12)


def make_data(lengths: Tensor) -> TensorDataset:
    """Return sequences whose last column holds their length."""
    torch.manual_seed(0)
    values = torch.randn(COUNT, LONGEST, WIDTH)
    column = lengths[:, None, None].expand(-1, LONGEST, 1).float()
    return TensorDataset(torch.cat([values, column], 2), torch.arange(COUNT) % 3)


def uneven_lengths() -> Tensor:
    """Return equal lengths in the first batch, then others whose sum is the same."""
    lengths = torch.full((COUNT,), 3)
    for index in range(SIZE, COUNT, 2):
        lengths[index] = 1 + index % 3
        lengths[index + 1] = 6 - lengths[index]
    return lengths


class Lengths(nn.Module):
    """Two layers and a head over ``(B, T, I)`` with lengths in the last column."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, given: Tensor) -> Tensor:
        return self.head(self.mix(given[..., :WIDTH], given[:, 0, WIDTH].long()))

    def mix(self, values: Tensor, lengths: Tensor) -> Tensor:
        raise NotImplementedError


class Sorted(Lengths):
    """Sorts by length and puts the rows back."""

    def __init__(self, put_back: PutBack) -> None:
        super().__init__()
        self.put_back = put_back

    def mix(self, values: Tensor, lengths: Tensor) -> Tensor:
        order = lengths.argsort(descending=True, stable=True)
        hidden = self.second(self.first(values[order, 0]).tanh()).tanh()
        return self.put_back(hidden, torch.eye(len(order)).to(hidden)[order].T)


def attend(rows: Tensor, back: Tensor) -> Tensor:
    blank = torch.zeros(1, 1, *rows.shape).to(rows)
    mask = (back > 0)[None, None]
    return F.scaled_dot_product_attention(blank, blank, rows[None, None], attn_mask=mask)[0, 0]


WAYS: dict[str, PutBack] = {
    "product": lambda rows, back: back @ rows,
    "product from the right": lambda rows, back: (rows.T @ back.T).T,
    "einsum": lambda rows, back: torch.einsum("ij,jd->id", back, rows),
    "numbers": lambda rows, back: (back[:, :, None] * rows[None]).sum(1),
    "choice": lambda rows, back: torch.where(back[:, :, None] > 0, rows, 0).sum(1),
    "table": lambda rows, back: F.embedding(back.argmax(1), rows),
    "bags": lambda rows, back: F.embedding_bag(back.argmax(1)[:, None], rows, mode="sum"),
    "attention": attend,
    "softmax": lambda rows, back: torch.softmax((back - 1) * 1e9, 1) @ rows,
    "convolution": lambda rows, back: F.conv1d(rows[None], back[:, :, None])[0],
    "linear": lambda rows, back: F.linear(rows.T, back).T,
    "gather": lambda rows, back: rows.gather(0, back.argmax(1)[:, None].expand_as(rows)),
    "index": lambda rows, back: rows[back.argmax(1)],
    "select": lambda rows, back: rows.index_select(0, back.argmax(1)),
    "sum": lambda rows, back: torch.zeros_like(rows).index_add(0, back.argmax(0), rows),
}


@pytest.mark.parametrize("way", WAYS)
def test_rows_that_are_sorted_are_put_back_by_anything(way: str) -> None:
    torch.manual_seed(1)
    assert_alone(Sorted(WAYS[way]), make_data(uneven_lengths()))


class Pooled(Lengths):
    """Sums the rows of each example with a matrix of zeros and ones."""

    def mix(self, values: Tensor, lengths: Tensor) -> Tensor:
        taken = torch.arange(values.shape[1]) < lengths[:, None]
        owners = F.one_hot(taken.nonzero()[:, 0], len(lengths)).to(values)
        return owners.T @ self.second(self.first(values[taken]).tanh()).tanh()


class Trimmed(Lengths):
    """Runs positions first, cut to the longest example of the batch."""

    def mix(self, values: Tensor, lengths: Tensor) -> Tensor:
        longest = int(lengths.max())
        rows = values[:, :longest].transpose(0, 1).reshape(-1, WIDTH)
        hidden = self.second(self.first(rows).tanh()).view(longest, len(lengths), -1)
        return (hidden * (torch.arange(longest)[:, None] < lengths)[..., None]).sum(0)


class Branching(Lengths):
    """Goes through the same operations along other axes."""

    def mix(self, values: Tensor, lengths: Tensor) -> Tensor:
        axis = 1 if bool((lengths == 3).all()) else 0
        rows = values if axis else values.transpose(0, 1)
        hidden = self.second(self.first(rows.reshape(-1, WIDTH)).tanh())
        return hidden.view(*rows.shape[:2], -1).sum(axis)


class Swapped(Lengths):
    """Turns some batches round and back."""

    def mix(self, values: Tensor, lengths: Tensor) -> Tensor:
        turned = (lengths != 3).any().expand(len(lengths), 1)
        hidden = self.first(values[:, 0])
        hidden = torch.where(turned, hidden.flip(0), hidden)
        hidden = self.second(hidden.tanh()).tanh()
        return hidden * ~turned + hidden.flip(0) * turned


@pytest.mark.parametrize("kind", [Pooled, Branching, Swapped])
def test_a_batch_in_plain_order_tells_nothing_of_the_next(kind: type[Lengths]) -> None:
    torch.manual_seed(1)
    assert_alone(kind(), make_data(uneven_lengths()))


def test_a_batch_of_single_positions_tells_nothing_of_longer_ones() -> None:
    lengths = torch.arange(COUNT) % LONGEST + 1
    lengths[:SIZE] = 1
    torch.manual_seed(1)
    assert_alone(Trimmed(), make_data(lengths))


class HalfTurned(Lengths):
    """Turns the second half of a batch round and back; examples of length 1 have no gradient."""

    def mix(self, values: Tensor, lengths: Tensor) -> Tensor:
        half = len(values) // 2

        def turn(rows: Tensor) -> Tensor:
            return torch.cat([rows[:half], rows[half:].flip(0)])

        hidden = turn(self.second(self.first(turn(values[:, 0])).tanh()).tanh())
        return hidden * (lengths > 1)[:, None]

    def forward(self, given: Tensor) -> Tensor:
        return super().forward(given) * (given[:, 0, WIDTH:] > 1)


def test_examples_without_gradients_tell_nothing_of_the_next() -> None:
    lengths = torch.full((COUNT,), 3)
    lengths[SIZE // 2 : SIZE] = 1
    torch.manual_seed(1)
    assert_alone(HalfTurned(), make_data(lengths))


class Crowded(Lengths):
    """Routes to two experts that take six examples of a batch and drop the rest."""

    def mix(self, values: Tensor, lengths: Tensor) -> Tensor:
        taken = F.one_hot((lengths > 2).long(), 2)
        taken = taken * (taken.cumsum(0) <= 6)
        first = self.first(values[:, 0])
        return torch.tanh(taken[:, :1] * first + taken[:, 1:] * self.second(first))


def test_a_capacity_that_binds_later_is_seen() -> None:
    lengths = torch.full((COUNT,), 3)
    lengths[:SIZE:2] = 1
    torch.manual_seed(1)
    with pytest.raises(GradientError, match="capacity"):
        score(Crowded().eval(), make_data(lengths))


class Shared(nn.Module):
    """Runs each word of a batch once, for all examples that have it."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.step, self.head = nn.Embedding(20, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, words: Tensor) -> Tensor:
        found, places = words.unique(return_inverse=True)
        return self.head(self.step(self.words(found)).tanh()[places].mean(1))


@pytest.mark.parametrize("outlier", [1.0, 1e2, 1e4, 1e6])
@pytest.mark.filterwarnings("ignore:The gradients of .* one example at a time")
def test_an_outlier_takes_no_row_that_it_shares(outlier: float) -> None:
    torch.manual_seed(0)
    # In the trial, and in the batch but for its first and last examples, nothing is shared.
    words = torch.arange(2 * SIZE).view(SIZE, 2)
    words[-1] = words[3]
    model = Shared().eval()
    weights = torch.ones(SIZE)
    weights[-1] = outlier

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs * targets).sum(1) * 1e-2

    targets = torch.randn(SIZE, 3) * weights[:, None]
    checkpoint = Checkpoint(model.state_dict(), learning_rate=1.0)
    data = TensorDataset(words, targets)
    found = TracIn(model, [checkpoint], loss=loss, batch_size=SIZE).self_influence(data)
    parameters = list(model.parameters())
    for index in range(SIZE):
        value = loss(model(words[index : index + 1]), targets[index : index + 1]).sum()
        right = sum((g**2).sum() for g in torch.autograd.grad(value, parameters))
        assert float(found[index]) == pytest.approx(float(right), rel=1e-4)


class Recurrent(nn.Module):
    """A recurrent network over words, positions or examples first."""

    def __init__(self, kind: type[nn.RNNBase], *, batch_first: bool) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(20, 6), nn.Linear(6, 3)
        self.recurrent = kind(6, 6, 2, batch_first=batch_first)
        self.batch_first = batch_first

    def forward(self, words: Tensor) -> Tensor:
        vectors = self.words(words if self.batch_first else words.T)
        hidden = self.recurrent(vectors)[0]
        return self.head(hidden[:, -1] if self.batch_first else hidden[-1])


class Encoder(nn.Module):
    """A Transformer over words, positions or examples first, with padding."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(20, 6), nn.Linear(6, 3)
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=batch_first)
        self.batch_first = batch_first

    def forward(self, words: Tensor) -> Tensor:
        vectors = self.words(words if self.batch_first else words.T)
        hidden = self.layer(vectors, src_key_padding_mask=words == 1)
        return self.head(hidden.mean(1 if self.batch_first else 0))


class Graphs(nn.Module):
    """Sums over the neighbours of nodes that lie flat."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.step, self.head = nn.Embedding(20, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, words: Tensor) -> Tensor:
        size, nodes = words.shape
        hidden = self.words(words.flatten())
        places = torch.arange(size * nodes).view(size, nodes)
        near = self.step(hidden)[places.roll(1, 1).flatten()]
        hidden = hidden.index_add(0, places.flatten(), near).relu()
        owners = torch.arange(size).repeat_interleave(nodes)
        return self.head(hidden.new_zeros(size, 6).index_add(0, owners, hidden))


class Shifted(nn.Module):
    """Attention with scores shifted and cut in place, and a network over the distances."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(20, 6), nn.Linear(6, 3)
        self.places = nn.Parameter(torch.randn(2, 8, 3))
        self.bias = nn.Sequential(nn.Linear(2, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))

    def forward(self, words: Tensor) -> Tensor:
        vectors = self.words(words)
        size, length, _ = vectors.shape
        heads = vectors.view(size, length, 2, 3)
        scores = torch.einsum("binh,njh->bnij", heads, self.places)
        shifted = scores.reshape(size, 2, length + 1, length)[:, :, 1:]
        shifted = shifted.reshape(size, 2, length, length)
        shifted *= (words != 2)[:, None, :, None]
        distances = torch.linspace(-1, 1, length * length * 2).to(vectors)
        weights = (
            shifted + self.bias(distances.view(1, length, length, 2)).permute(0, 3, 1, 2)
        ).softmax(-1)
        return self.head((weights @ heads.transpose(1, 2)).transpose(1, 2).flatten(2).mean(1))


PROVED: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: Recurrent(nn.LSTM, batch_first=True),
    "LSTM, positions first": lambda: Recurrent(nn.LSTM, batch_first=False),
    "GRU": lambda: Recurrent(nn.GRU, batch_first=True),
    "GRU, positions first": lambda: Recurrent(nn.GRU, batch_first=False),
    "encoder": lambda: Encoder(batch_first=True),
    "encoder, positions first": lambda: Encoder(batch_first=False),
    "graphs": Graphs,
    "shifted in place": Shifted,
}


@pytest.mark.parametrize("name", PROVED)
def test_the_graph_of_a_usual_network_proves_the_order(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    words = torch.randint(1, 20, (COUNT, 7))
    words[:, 0] = 2
    model = PROVED[name]()
    # No batch takes a second backward pass.
    monkeypatch.delattr(hooks, "differentiate_marked")
    assert_alone(model, TensorDataset(words, torch.arange(COUNT) % 3))


BACKWARDS = torch.arange(SIZE).flip(0)


def write(
    view: Callable[[Tensor], Tensor], change: Callable[[Tensor], object]
) -> Callable[..., Tensor]:
    """Return what changes a view of a copy in place, and gives the copy."""

    def use(tensor: Tensor) -> Tensor:
        copy = tensor.clone()
        change(view(copy))
        return copy

    return use


def fill(tensor: Tensor, shape: tuple[int, ...], view: Callable[[Tensor], Tensor]) -> Tensor:
    """Return zeros with a tensor copied into a view of them."""
    filled = torch.zeros(shape)
    view(filled).copy_(tensor)
    return filled


def read_beside(tensor: Tensor) -> Tensor:
    """Read one view after another one was changed in place."""
    changed, read = tensor[:, :2], tensor[:, 1:]
    changed *= 2
    return read.exp().sum(1)


def shift(tensor: Tensor) -> Tensor:
    """Change scores by relative positions in place, as they are shifted by their rows."""
    heads, rows = 2, 3
    factor = torch.eye(rows).expand(heads, rows, rows)
    scores = torch.bmm(tensor.view(heads, -1, rows), factor).view(heads, SIZE, rows, rows)
    scores = scores.transpose(0, 1).reshape(SIZE, heads, rows * rows)[..., 1:-2].view(SIZE, 2, 3, 2)
    scores *= torch.arange(2)
    return scores.sum((1, 2, 3))


def find_place(
    use: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> Place | ListedRows | None:
    """Return where the graph of an operation with objectives says that the examples are."""
    leaf = torch.rand(shape, requires_grad=True)
    start = leaf * 2
    values = use(start)
    assert values.shape == (SIZE,)
    survey = survey_graph(values, SIZE)
    return survey.places.get((start.grad_fn, 0))


@pytest.mark.parametrize(
    ("use", "shape", "place"),
    [
        (lambda x: x.sum((1, 2)), (SIZE, 3, 2), Place(1, 6)),
        (lambda x: x.sum((0, 2)), (3, SIZE, 2), Place(3, 2)),
        (lambda x: x.permute(2, 0, 1).amax((1, 2)), (3, 2, SIZE), Place(6, 1)),
        (lambda x: x.view(SIZE, 3).softmax(-1)[:, -1], (3 * SIZE,), Place(1, 3)),
        (lambda x: x.view(3, SIZE).softmax(0)[-1], (3 * SIZE,), Place(3, 1)),
        # As many positions as examples.
        (lambda x: x.sum(0), (SIZE, SIZE), Place(SIZE, 1)),
        (lambda x: torch.stack(x.unbind(0), 1).sum(1), (3, SIZE), Place(3, 1)),
        (lambda x: x[torch.arange(SIZE), torch.arange(SIZE) % 3], (SIZE, 3), Place(1, 3)),
        (lambda x: x.index_add(0, torch.arange(SIZE), x)[:, 0], (SIZE, 1), Place(1, 1)),
        # Rotated is a part without width, and the rest is not.
        (lambda x: torch.cat((x[:, 3:].neg(), x[:, :3]), 1)[:, 0], (SIZE, 3), Place(1, 3)),
        (lambda x: x.topk(2, 1).values[:, 0], (SIZE, 3), Place(1, 3)),
        (lambda x: x[BACKWARDS][:, 0], (SIZE, 3), ListedRows(tuple(BACKWARDS.tolist()))),
        (lambda x: x[BACKWARDS].exp()[BACKWARDS][:, 0], (SIZE, 3), Place(1, 3)),
        # In place on a view, each number by itself, whatever is brought in.
        (lambda x: write(lambda y: y[:, 1:], torch.relu_)(x).sum(1), (SIZE, 3), Place(1, 3)),
        (lambda x: write(lambda y: y.T[1:], Tensor.exp_)(x).sum(1), (SIZE, 3), Place(1, 3)),
        (lambda x: write(lambda y: y[1:], lambda y: y.mul_(2))(x).sum(0), (3, SIZE), Place(3, 1)),
        (lambda x: write(lambda y: y[1:], lambda y: y.copy_(x[1:]))(x)[0], (2, SIZE), Place(2, 1)),
        # Copied into a view, wherever that lies.
        (lambda x: fill(x.sum(1), (SIZE, 2), lambda y: y[:, 1]).sum(1), (SIZE, 3), Place(1, 3)),
        (lambda x: fill(x, (3, SIZE), lambda y: y.T)[0], (SIZE, 3), Place(1, 3)),
        (lambda x: fill(x, (SIZE, 9), lambda y: y.T[::4])[:, 4], (3, SIZE), Place(3, 1)),
        (lambda x: fill(x, (SIZE, SIZE), lambda y: y.T)[0], (SIZE, SIZE), Place(1, SIZE)),
        (lambda x: fill(x, (SIZE, SIZE), lambda y: y)[0], (1, SIZE), None),
        (lambda x: write(lambda y: y.T, lambda y: y.cumsum_(1))(x)[:, 0], (SIZE, 3), None),
        # Another view, which autograd makes anew when it is read.
        (lambda x: read_beside(x @ torch.eye(3)), (SIZE, 3), Place(1, 3)),
        # Read by strides afterwards.
        (shift, (2 * SIZE * 3, 3), Place(2, 9)),
        (lambda x: (x @ torch.eye(3)).as_strided((SIZE,), (3,), 2), (SIZE, 3), Place(1, 3)),
        (lambda x: (x @ torch.eye(3)).as_strided((SIZE,), (1,), 2), (SIZE, 3), None),
        (lambda x: x.as_strided((SIZE,), (3,), 2), (SIZE, 3), None),
        # Examples meet, or may do so.
        (lambda x: torch.cat((x[:, 3:], x.flip(0)), 1)[:, 0], (SIZE, 3), None),
        (lambda x: (x[BACKWARDS] + x)[:, 0], (SIZE, 3), None),
        (lambda x: x.topk(SIZE, 0).values[:, 0], (SIZE, 3), None),
        (lambda x: x.softmax(0)[:, 0], (SIZE, 3), None),
        (lambda x: x.cumsum(0)[:, 0], (SIZE, 3), None),
        (lambda x: (x + x.flip(0))[:, 0], (SIZE, 3), None),
        (lambda x: x.roll(1, 0)[:, 0], (SIZE, 3), None),
        (lambda x: (x @ x.T)[:, 0], (SIZE, 3), None),
        (lambda x: (torch.eye(SIZE) @ x)[:, 0], (SIZE, 3), None),
        (lambda x: (x.sum(0) + torch.zeros(SIZE, 3)).sum(1), (SIZE, 3), None),
        (lambda x: F.batch_norm(x, None, None, training=True)[:, 0], (SIZE, 3), None),
        (lambda x: F.layer_norm(x, x.shape)[:, 0], (SIZE, 3), None),
        (lambda x: x[torch.arange(SIZE).clamp_min(1)][:, 0], (SIZE, 3), None),
        (lambda x: x[torch.arange(SIZE).flip(0)][:, 0], (2 * SIZE, 3), None),
        (lambda x: F.pad(x, (0, 0, 1, 0))[:-1, 0], (SIZE, 3), None),
    ],
)
def test_places_are_followed_or_unknown(
    use: Callable[[Tensor], Tensor], shape: tuple[int, ...], place: Place | ListedRows | None
) -> None:
    assert find_place(use, shape) == place
