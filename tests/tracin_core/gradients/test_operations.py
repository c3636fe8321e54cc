"""Parameters that no layer's call reads, by the operations that do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.gradients.graph import operations
from tracin_core.gradients.graph.ownership import (
    Layout,
    MarkedGradients,
    differentiate_marked,
    find_layout,
)
from tracin_core.gradients.graph.stacks import StackedOuter
from tracin_core.gradients.rules.registry import UnsupportedUseError

WIDTH = 4


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


class Bare(nn.Module):
    """Some parameters and what a forward pass does with them, before a head."""

    def __init__(
        self, shapes: dict[str, tuple[int, ...]], use: Callable[[Any, Tensor], Tensor]
    ) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(randn(*shape)))
        self.head, self.use = nn.Linear(WIDTH, 3), use

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.use(self, inputs).tanh().square().mean(1))


def assert_exact(model: nn.Module, inputs: Tensor, batch_size: int = 2) -> TracIn:
    model = model.double()
    examples = [(row, torch.tensor(i % 3)) for i, row in enumerate(inputs)]
    checkpoint = Checkpoint(model.state_dict(), learning_rate=1.0)
    tracin = TracIn(model, [checkpoint], device="cpu", batch_size=batch_size)
    expected = oracles.per_example_gradients(model, examples, loss)
    torch.testing.assert_close(tracin.vectors(examples), expected, **oracles.EXACT)
    norms = tracin.self_influence(examples)
    torch.testing.assert_close(norms, expected.square().sum(1), **oracles.EXACT)
    return tracin


def flatten_time_first(use: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Apply to ``(T * B, E)``, as attention's output projection is."""
    folded = use(inputs.transpose(0, 1).reshape(-1, WIDTH))
    return folded.reshape(inputs.shape[1], len(inputs), WIDTH).transpose(0, 1)


def use_chunks(model: Any, inputs: Tensor) -> Tensor:
    weights, biases = model.weight.chunk(2), model.bias.split([WIDTH, WIDTH])
    first = F.linear(inputs, weights[0], biases[0])
    return F.linear(first.tanh(), weights[1], biases[1])


MATRIX, VECTOR = (WIDTH, WIDTH), (WIDTH,)
PAIRS = torch.arange(5)[:, None] - torch.arange(5) + 4
POSITIONS, TABLE = randn(5, 2), randn(5, WIDTH)
CASES: dict[str, tuple[dict[str, tuple[int, ...]], Callable[[Any, Tensor], Tensor]]] = {
    "linear": (
        {"weight": MATRIX, "bias": VECTOR},
        lambda m, x: F.linear(x, m.weight, m.bias),
    ),
    "linear, time first": (
        {"weight": MATRIX, "bias": VECTOR},
        lambda m, x: F.linear(x.transpose(0, 1), m.weight, m.bias).transpose(0, 1),
    ),
    "linear, time first and flattened": (
        {"weight": MATRIX, "bias": VECTOR},
        lambda m, x: flatten_time_first(lambda rows: F.linear(rows, m.weight, m.bias), x),
    ),
    "linear, flattened": (
        {"weight": MATRIX, "bias": VECTOR},
        lambda m, x: F.linear(x.reshape(-1, WIDTH), m.weight, m.bias).reshape(x.shape),
    ),
    "linear, twice": (
        {"weight": MATRIX},
        lambda m, x: F.linear(F.linear(x, m.weight).tanh(), m.weight.t()),
    ),
    "linear of chunks": ({"weight": (2 * WIDTH, WIDTH), "bias": (2 * WIDTH,)}, use_chunks),
    "addmm, as in GPT-2": (
        {"weight": MATRIX, "bias": VECTOR},
        lambda m, x: torch.addmm(m.bias, x.reshape(-1, WIDTH), m.weight).reshape(x.shape),
    ),
    "scaled bias of addmm": (
        {"weight": MATRIX, "bias": VECTOR},
        lambda m, x: torch.addmm(m.bias, x.reshape(-1, WIDTH), m.weight, beta=3).reshape(x.shape),
    ),
    "positions": ({"table": (5, WIDTH)}, lambda m, x: x + m.table[: x.shape[1]]),
    "positions with an axis of one": (
        {"table": (1, 5, WIDTH)},
        lambda m, x: x + m.table[:, : x.shape[1]],
    ),
    "positions, time first": (
        {"table": (5, 1, WIDTH)},
        lambda m, x: (x.transpose(0, 1) + m.table[: x.shape[1]]).transpose(0, 1),
    ),
    "positions looked up": (
        {"table": (5, WIDTH)},
        lambda m, x: x + F.embedding(torch.arange(x.shape[1]).unsqueeze(0), m.table),
    ),
    "positions looked up, one of them padding": (
        {"table": (5, WIDTH)},
        lambda m, x: x + F.embedding(torch.arange(x.shape[1]), m.table, padding_idx=0)[None],
    ),
    "class token": (
        {"token": (1, 1, WIDTH)},
        lambda m, x: torch.cat([m.token.expand(len(x), -1, -1), x], 1).cumsum(1),
    ),
    "scale and shift": (
        {"scale": VECTOR, "shift": (1,)},
        lambda m, x: m.scale * x.tanh() - m.shift,
    ),
    "scale of a channel": (
        {"scale": (WIDTH, 1)},
        lambda m, x: (x.mT * m.scale).mT,
    ),
    "added with a factor": ({"shift": VECTOR}, lambda m, x: torch.add(x, m.shift, alpha=-2)),
    "taken from": ({"shift": VECTOR}, lambda m, x: m.shift - x),
    "divisor": ({"scale": VECTOR}, lambda m, x: x / m.scale),
    "divided": ({"scale": VECTOR}, lambda m, x: m.scale / (1 + x.square())),
    "scale that is one more, as in Gemma": ({"scale": VECTOR}, lambda m, x: x * (1 + m.scale)),
    "scale behind a function": ({"scale": (1,)}, lambda m, x: x * m.scale.clamp(max=9).exp()),
    "left factor": (
        {"weight": MATRIX},
        lambda m, x: (m.weight @ x.reshape(-1, WIDTH).T).T.reshape(x.shape),
    ),
    "heads, as in XLNet": (
        {"weight": (WIDTH, 2, 2)},
        lambda m, x: torch.einsum("bth,hnd->btnd", x, m.weight).flatten(2),
    ),
    "heads before examples": (
        {"table": (2, WIDTH, 3)},
        lambda m, x: torch.einsum("bth,nhc->btnc", x, m.table).tanh().mean((2, 3))[..., None] * x,
    ),
    "norm and shift": (
        {"scale": VECTOR, "shift": VECTOR},
        lambda m, x: F.layer_norm(x, VECTOR, m.scale, m.shift),
    ),
    "table looked up by pairs, as in Swin": (
        {"table": (9, 1)},
        lambda m, x: (x @ x.mT + m.table[PAIRS[: x.shape[1], : x.shape[1]]][..., 0]) @ x,
    ),
    "masked bias, as in T5": (
        {"table": (9, 2)},
        lambda m, x: torch.where((x > 0)[:, :1, :1], F.embedding(PAIRS[0], m.table).sum(), x),
    ),
    "network over positions": (
        {"first": (2, 6), "second": (6, WIDTH)},
        lambda m, x: x + (POSITIONS[: x.shape[1]] @ m.first).tanh() @ m.second,
    ),
    "repeated for each example": (
        {"table": (2, 3, WIDTH)},
        lambda m, x: (
            x
            @ m.table.tanh().repeat(len(x), 1, 1).view(len(x), -1, WIDTH).mT.softmax(2)
            @ m.table.reshape(6, WIDTH)
        ),
    ),
    "merged of two factors": (
        {"down": (2, WIDTH), "up": (WIDTH, 2)},
        lambda m, x: F.linear(x, torch.eye(WIDTH, dtype=x.dtype) + m.up @ m.down),
    ),
    "divided by its norm": (
        {"weight": MATRIX, "size": (WIDTH, 1)},
        lambda m, x: F.linear(x, m.size * m.weight / m.weight.norm(dim=1, keepdim=True)),
    ),
    "kernel of parts": (
        {"kernel": (WIDTH, WIDTH, 3), "size": (WIDTH, 1, 1), "bias": VECTOR},
        lambda m, x: F.conv1d(x.mT, m.kernel * m.size, m.bias, padding=1).mT,
    ),
    "one layer over positions and examples": (
        {"weight": MATRIX, "bias": VECTOR},
        lambda m, x: (
            F.linear(x, m.weight, m.bias) + F.linear(TABLE[: x.shape[1]], m.weight, m.bias).tanh()
        ),
    ),
}


@settings(max_examples=3, deadline=None)
@given(
    size=st.integers(1, 7),
    length=st.integers(1, 5),
    batch_size=st.integers(1, 8),
)
@pytest.mark.parametrize("name", CASES)
def test_bare_parameters_are_exact_in_every_cut(
    name: str, size: int, length: int, batch_size: int
) -> None:
    shapes, use = CASES[name]
    assert_exact(Bare(shapes, use), randn(size, length, WIDTH), batch_size)


@pytest.mark.parametrize("name", CASES)
def test_bare_parameters_need_no_fallback(name: str) -> None:
    shapes, use = CASES[name]
    coverage = assert_exact(Bare(shapes, use), randn(5, 4, WIDTH)).coverage
    assert {entry.method for entry in coverage} == {"rule"}, str(coverage)
    assert all(coverage[name].reason.startswith("read by ") for name in shapes)


UNCOVERED: dict[str, tuple[dict[str, tuple[int, ...]], Callable[[Any, Tensor], Tensor]]] = {
    "no rule": ({"weight": VECTOR}, lambda m, x: torch.logaddexp(x, m.weight)),
    "mixed with the examples": (
        {"weight": (1, 5, WIDTH)},
        lambda m, x: x + torch.logaddexp(x.mean(2, keepdim=True), m.weight).mean(1, keepdim=True),
    ),
}


@pytest.mark.parametrize("name", UNCOVERED)
def test_what_no_rule_follows_takes_the_fallback(name: str) -> None:
    shapes, use = UNCOVERED[name]
    coverage = assert_exact(Bare(shapes, use), randn(5, 5, WIDTH)).coverage
    assert coverage["weight"].method in ("torch.func", "one example at a time")


def test_a_batch_that_reads_otherwise_than_the_trial_is_exact() -> None:
    def use(model: Any, inputs: Tensor) -> Tensor:
        if len(inputs) == 2:
            return torch.stack([row @ model.weight for row in inputs])
        return inputs @ model.weight

    tracin = assert_exact(Bare({"weight": MATRIX}, use), randn(6, 4, WIDTH), batch_size=2)
    assert tracin.coverage["weight"].method == "rule"


def test_a_stack_of_matrices_stays_factored_and_exact() -> None:
    deltas, inputs = randn(3, 5, 2), randn(3, 5, WIDTH)
    matrices = torch.tensor([[0, 1, 1, 2, 0], [2, 2, 2, 2, 2], [0, 0, 1, 1, 1]])
    stack = StackedOuter(deltas, inputs, matrices, torch.Size((3, 2, WIDTH)))
    expected = torch.zeros(3, 3, 2, WIDTH, dtype=torch.float64)
    for example in range(3):
        for row, matrix in enumerate(matrices[example].tolist()):
            expected[example, matrix] += torch.outer(deltas[example, row], inputs[example, row])
    torch.testing.assert_close(stack.instantiate(), expected, **oracles.EXACT)
    torch.testing.assert_close(stack.transpose().instantiate(), expected.mT, **oracles.EXACT)
    large = StackedOuter(deltas, inputs, matrices, torch.Size((9, 2, WIDTH)))
    norms = expected.square().sum((1, 2, 3))
    for item in (stack, large, stack.narrow(0, 3)):
        torch.testing.assert_close(item.squared_norms(), norms, **oracles.EXACT)


def test_a_tensor_mixed_with_what_was_read_before_takes_the_fallback() -> None:
    # What is added last was made of the parameter and, by another way, of the examples that it
    # was added to: autograd's way back from there would count the first read again.
    def use(model: Any, inputs: Tensor) -> Tensor:
        first = inputs + model.shift
        mixed = torch.logaddexp(first.mean(1, keepdim=True), model.shift)
        return first * mixed

    tracin = assert_exact(Bare({"shift": VECTOR}, use), randn(5, 4, WIDTH))
    assert tracin.coverage["shift"].method == "torch.func"


def test_a_wrong_rule_of_an_operation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        operations.OPERATIONS,
        "AddBackward0",
        lambda node, position: operations.Operand(scale=1.01),
    )
    shapes, use = CASES["positions"]
    coverage = assert_exact(Bare(shapes, use), randn(5, 4, WIDTH)).coverage
    assert coverage["table"].method == "torch.func"


def mark(owners: list[int], batch_size: int) -> MarkedGradients:
    """Gradients of rows that belong to these examples; -1 for zeros."""
    kinds = torch.tensor(owners)
    plain = torch.where(kinds < 0, 0.0, 1 + torch.arange(len(owners)))[:, None]
    marked = (plain * torch.exp2(kinds.clamp_min(0))[:, None],)
    return MarkedGradients(plain, marked, 41, batch_size)


def test_examples_lie_where_their_marks_are() -> None:
    assert find_layout(mark([0, 0, 1, 1, 2, 2], 3), [0]) == Layout(0, "examples")
    assert find_layout(mark([0, 1, 2, 0, 1, 2], 3), [0]) == Layout(0, "positions")
    assert find_layout(mark([0, 1, 2], 3), [0]) == Layout(0, "examples")
    other = find_layout(mark([2, 0, 0, 1], 3), [0])
    assert other.order == "any"
    values = torch.tensor([[20.0], [1.0], [2.0], [10.0]])
    arranged = other.arrange(values, 3)
    torch.testing.assert_close(arranged[..., 0], torch.tensor([[1.0, 2], [10, 0], [20, 0]]))


def test_rows_without_gradients_may_lie_anywhere() -> None:
    assert find_layout(mark([0, -1, -1, 3, -1], 5), [0]) == Layout(0, "examples")
    assert find_layout(mark([0, -1, 1, -1, 0, -1], 3), [0]).order == "any"


def test_a_row_of_several_examples_has_no_layout() -> None:
    plain = torch.ones(2, 2)
    mixed = MarkedGradients(plain, (torch.tensor([[1.0, 1], [1, 2]]),), 41, 2)
    with pytest.raises(UnsupportedUseError, match="several examples"):
        find_layout(mixed, [0])
    lost = MarkedGradients(torch.zeros(2, 2), (torch.tensor([[0.0, 0], [1, -2]]),), 41, 2)
    with pytest.raises(UnsupportedUseError, match="several examples"):
        find_layout(lost, [0])


def test_what_fits_two_axes_lies_right_along_either() -> None:
    plain = torch.eye(2)
    marked = (torch.tensor([[1.0, 0], [0, 2]]),)
    found = MarkedGradients(plain, marked, 41, 2)
    for axes in ([0, 1], [1, 0]):
        torch.testing.assert_close(
            find_layout(found, axes).arrange(plain, 2).sum(1), torch.eye(2), rtol=0, atol=0
        )
    broken = MarkedGradients(plain / 0, (marked[0] / 0,), 41, 2)
    with pytest.raises(UnsupportedUseError, match="do not tell"):
        find_layout(broken, [0, 1])


@given(data=st.data(), size=st.integers(1, 2000))
@settings(max_examples=20, deadline=None)
def test_any_order_of_any_batch_is_read_from_two_digits(data: Any, size: int) -> None:
    owners = torch.tensor(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=30)))
    weights = nn.Parameter(torch.randn(size, 3))
    rows = weights[owners] * torch.randn(len(owners), 1).exp()
    values = torch.zeros(size).index_add(0, owners, (0.1 * rows).sin().sum(1))
    (found,) = differentiate_marked(values, [rows])
    assert found is not None
    torch.testing.assert_close(found.find_owners(), owners)


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="this torch has no grouped_mm")
def test_a_stack_of_matrices_that_meets_the_examples_themselves_is_read() -> None:
    # Of rows that need no gradient, the operation does not keep the matrices.
    stack = torch.randn(2, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    rows, ends = torch.randn(5, 8, dtype=torch.bfloat16), torch.tensor([3, 5], dtype=torch.int32)
    node = F.grouped_mm(rows, stack, offs=ends).grad_fn
    operand = operations.read_operand(operations.ParameterUse(node, 1, stack.shape))
    assert operand.other is not None and torch.equal(operand.other, rows)  # noqa: PT018
    assert operand.ends is not None and torch.equal(operand.ends, ends)  # noqa: PT018
