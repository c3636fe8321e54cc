"""Flips, rolls, interleavings, doubled batches and axes in another order, all undone at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.hostile.draw import Draw, Net, Subject, kind

MOVED = "batch moved and moved back"
AXES = "examples along another axis, windows"


def order_of(draw: Draw) -> Callable[[int], Tensor]:
    """Return a function from the number of rows to the order they are run in."""
    way = draw.pick("flip", "roll", "halves", "odd and even", "random", "swap pairs", "last three")

    def order(size: int) -> Tensor:
        rows = torch.arange(size)
        if way == "flip":
            return rows.flip(0)
        if way == "roll":
            return rows.roll(step)
        if way == "halves":
            return torch.cat([rows[size // 2 :], rows[: size // 2]])
        if way == "odd and even":
            return torch.cat([rows[::2], rows[1::2]])
        if way == "random":
            return torch.randperm(size, generator=torch.Generator().manual_seed(size))
        if way == "swap pairs":
            pairs = rows[: size // 2 * 2].view(-1, 2).flip(1).flatten()
            return torch.cat([pairs, rows[size // 2 * 2 :]])
        # The first three stay where they are: a trial on three sees nothing of it.
        return torch.cat([rows[:3], rows[3:].flip(0)])

    step = draw.number(1, 5)
    return order


@kind(MOVED)
def rows_in_another_order(draw: Draw) -> Subject:
    order, activate = order_of(draw), draw.activate

    def run(m: Any, x: Tensor) -> Tensor:
        rows = order(len(x))
        h = activate(m.first(x))[rows]
        h = activate(m.second(h)) if module else activate(h @ m.weight)
        return m.head(h[rows.argsort()])

    module, size = draw.pick(True, True, False), draw.hidden
    parts: dict[str, Any] = {"first": draw.linear(draw.width, size), "head": draw.head(size)}
    if module:
        parts["second"] = draw.linear(size, size)
    else:
        parts["weight"] = nn.Parameter(torch.randn(size, size) / 2)
    return draw.finish(Net(run, **parts), draw.vectors())


@kind(MOVED)
def images_in_another_order(draw: Draw) -> Subject:
    order, groups = order_of(draw), draw.pick(1, 2)

    def run(m: Any, x: Tensor) -> Tensor:
        rows = order(len(x))
        h = torch.tanh(m.norm(m.first(x)))
        h = torch.tanh(m.second(h[rows]))[rows.argsort()]
        return m.head(h.mean((2, 3)))

    model = Net(
        run,
        first=nn.Conv2d(2, 4, 3, padding=1, bias=False),
        norm=draw.pick(nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Identity()),
        second=nn.Conv2d(4, 6, 3, groups=groups),
        head=draw.head(6),
    )
    images = torch.randn(draw.count, 2, 5, 5, dtype=torch.float64)
    return draw.finish(model, images)


@kind(MOVED)
def twice_through_one_branch(draw: Draw) -> Subject:
    """Both halves of a pair in one batch: one behind the other, in turn, or one upside down."""
    activate = draw.activate
    way = draw.pick("behind", "in turn", "behind, flipped", "four", "behind, rolled")

    def run(m: Any, left: Tensor, right: Tensor) -> Tensor:
        size = len(left)
        if way == "in turn":
            both = activate(m.body(torch.stack([left, right], 1).flatten(0, 1)))
            pair = both.view(size, 2, -1).unbind(1)
        elif way == "behind, flipped":
            both = activate(m.body(torch.cat([left, right.flip(0)])))
            pair = both[:size], both[size:].flip(0)
        elif way == "behind, rolled":
            both = activate(m.body(torch.cat([left, right.roll(1, 0)])))
            pair = both[:size], both[size:].roll(-1, 0)
        elif way == "four":
            both = activate(m.body(torch.cat([left, right, -left, -right])))
            pair = both[:size] - both[2 * size : 3 * size], both[size : 2 * size] + both[3 * size :]
        else:
            pair = activate(m.body(torch.cat([left, right]))).chunk(2)
        return m.head(torch.cat([pair[0] * pair[1], (pair[0] - pair[1]).square()], 1))

    model = Net(run, body=draw.linear(draw.width, draw.hidden), head=draw.head(2 * draw.hidden))
    return draw.finish(model, draw.vectors(), draw.vectors())


@kind(MOVED)
def one_layer_in_two_orders(draw: Draw) -> Subject:
    """The same module once in the given order and once in another."""
    order, activate = order_of(draw), draw.activate

    def run(m: Any, x: Tensor) -> Tensor:
        rows = order(len(x))
        h = m.first(x)
        return m.head(activate(m.body(h)) + activate(m.body(h[rows] / 2))[rows.argsort()])

    size = draw.hidden
    model = Net(
        run,
        first=draw.linear(draw.width, size),
        body=draw.linear(size, size),
        head=draw.head(size),
    )
    return draw.finish(model, draw.vectors())


@kind(AXES)
def sequence_first(draw: Draw) -> Subject:
    way = draw.pick("gru", "attention", "encoder", "linear", "norm")

    def run(m: Any, x: Tensor) -> Tensor:
        h = m.first(x.transpose(0, 1))
        if way == "gru":
            h = m.body(h)[0]
        elif way == "attention":
            h = h + m.body(h, h, h, need_weights=False)[0]
        else:
            h = m.body(h)
        return m.head(torch.tanh(h).mean(0))

    size = draw.hidden
    heads = 2
    body: nn.Module = {
        "gru": lambda: nn.GRU(size, size),
        "attention": lambda: nn.MultiheadAttention(size, heads),
        "encoder": lambda: nn.TransformerEncoderLayer(size, heads, 2 * size, activation="gelu"),
        "linear": lambda: nn.Linear(size, size),
        "norm": lambda: nn.LayerNorm(size),
    }[way]()
    model = Net(run, first=draw.linear(draw.width, size), body=body, head=draw.head(size))
    return draw.finish(model, draw.series())


@kind(AXES)
def windows(draw: Draw) -> Subject:
    """Windows of each image as rows of a larger batch, of one image together or in turn."""
    together, window = draw.pick(True, False), draw.pick(2, 4)
    way = draw.pick("linear", "attention", "convolution")
    shift = draw.pick(0, 1)

    def run(m: Any, x: Tensor) -> Tensor:
        size, channels = len(x), x.shape[1]
        x = x.roll((-shift, -shift), (2, 3))
        parts = x.unfold(2, window, window).unfold(3, window, window).flatten(2, 3)
        parts = parts.permute(0, 2, 1, 3, 4) if together else parts.permute(2, 0, 1, 3, 4)
        rows = parts.reshape(-1, channels, window, window)
        if way == "convolution":
            h = m.body(rows).flatten(2).mean(2)
        else:
            tokens = rows.flatten(2).transpose(1, 2)
            if way == "attention":
                tokens = tokens + m.body(tokens, tokens, tokens, need_weights=False)[0]
            else:
                tokens = m.body(tokens)
            h = torch.tanh(tokens).mean(1)
        shape = (size, -1, h.shape[1]) if together else (-1, size, h.shape[1])
        return m.head(torch.tanh(h).view(shape).square().mean(1 if together else 0))

    body: nn.Module = {
        "linear": lambda: nn.Linear(4, 6),
        "attention": lambda: nn.MultiheadAttention(4, 2, batch_first=True),
        "convolution": lambda: nn.Conv2d(4, 6, 2),
    }[way]()
    model = Net(run, body=body, head=draw.head(4 if way == "attention" else 6))
    return draw.finish(model, torch.randn(draw.count, 4, 4, 4, dtype=torch.float64))


@kind(AXES)
def examples_in_the_middle(draw: Draw) -> Subject:
    """Layers that see the examples on their second or last axis."""
    way = draw.pick("second", "last", "einsum", "matrix on the left")

    def run(m: Any, x: Tensor) -> Tensor:
        if way == "second":
            return m.head(torch.tanh(m.body(x.permute(1, 0, 2))).permute(1, 0, 2).mean(1))
        if way == "last":
            h = torch.tanh(m.weight @ x.permute(1, 2, 0))
            return m.head(h.mean(0).T)
        if way == "einsum":
            return m.head(torch.tanh(torch.einsum("bti,oi->tbo", x, m.weight)).mean(0))
        return m.head(torch.tanh(m.weight @ x.mean(1).T).T)

    size = draw.hidden
    if way == "second":
        model = Net(run, body=draw.linear(draw.width, size), head=draw.head(size))
    else:
        weight = nn.Parameter(torch.randn(size, draw.width) / 2)
        model = Net(run, weight=weight, head=draw.head(size))
    return draw.finish(model, draw.series())


@kind(AXES)
def time_folded_into_the_batch(draw: Draw) -> Subject:
    together, activate = draw.pick(True, False), draw.activate

    def run(m: Any, x: Tensor) -> Tensor:
        size, length = x.shape[:2]
        rows = (x if together else x.transpose(0, 1)).reshape(size * length, -1)
        h = activate(m.norm(m.body(rows)))
        h = h.view(size, length, -1) if together else h.view(length, size, -1).transpose(0, 1)
        return m.head(h.amax(1))

    size = draw.hidden
    norm = draw.pick(nn.LayerNorm(size), nn.BatchNorm1d(size), nn.Identity())
    model = Net(run, body=draw.linear(draw.width, size), norm=norm, head=draw.head(size))
    return draw.finish(model, draw.series())
