"""Branches, early exits, batches in parts, recomputed blocks and modules in several places."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.hostile.draw import WORDS, Draw, Net, Subject, kind

BRANCHES = "branches and early exits"
PARTS = "batch in parts, recomputed, shared"


def two_blocks(draw: Draw, run: Any, **more: Any) -> Subject:
    """Return an entry, two blocks and a head."""
    size = draw.hidden
    model = Net(
        run,
        enter=draw.linear(draw.width, size),
        first=draw.linear(size, size),
        second=draw.linear(size, size),
        head=draw.head(size),
        **more,
    )
    return draw.finish(model, draw.vectors())


@kind(BRANCHES)
def branch_by_example(draw: Draw) -> Subject:
    activate = draw.activate

    def run(m: Any, x: Tensor) -> Tensor:
        found = []
        for row in x.split(1):
            h = activate(m.enter(row))
            found.append(activate(m.first(h) if float(row[0, 0]) > 0 else m.second(h)))
        return m.head(torch.cat(found))

    return two_blocks(draw, run)


@kind(BRANCHES)
def early_exit(draw: Draw) -> Subject:
    """Who is sure enough leaves after the first block; the others go on."""
    activate, threshold = draw.activate, draw.pick(0.3, 0.4, 0.5)

    def run(m: Any, x: Tensor) -> Tensor:
        h = activate(m.enter(x))
        logits = m.early(h)
        going = logits.softmax(1).amax(1) < threshold
        if going.any():
            more = activate(m.second(activate(m.first(h[going]))))
            logits = logits.clone()
            logits[going] = m.head(more)
        return logits

    return two_blocks(draw, run, early=draw.head(draw.hidden))


@kind(BRANCHES)
def while_someone_goes_on(draw: Draw) -> Subject:
    """Steps until each example has had enough, each by its own count."""
    most = draw.number(2, 4)

    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.tanh(m.enter(x))
        left = (x[:, 0].abs() * 2).long().clamp(max=most)
        while (left > 0).any():
            rows = (left > 0).nonzero().squeeze(1)
            h = h.index_copy(0, rows, torch.tanh(m.first(h[rows])) + h[rows] / 2)
            left = left - 1
        return m.head(torch.tanh(m.second(h)))

    return two_blocks(draw, run)


@kind(BRANCHES)
def chosen_by_where(draw: Draw) -> Subject:
    """Both paths run on all rows, and each row takes one."""

    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.tanh(m.enter(x))
        return m.head(torch.where(x[:, :1] > 0, m.first(h), torch.tanh(m.second(h))))

    return two_blocks(draw, run)


@kind(BRANCHES)
def branch_that_any_row_opens(draw: Draw) -> Subject:
    """A block that runs on all rows when one needs it, and adds nothing to those that do not."""

    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.tanh(m.enter(x))
        need = x[:, :1] > limit
        if need.any():
            h = h + need * torch.tanh(m.first(h))
        return m.head(torch.tanh(m.second(h)))

    limit = draw.pick(0.5, 1.5, 2.0)
    return two_blocks(draw, run)


@kind(BRANCHES)
def halves_through_two_paths(draw: Draw) -> Subject:
    """Positive rows first, negative ones behind, each through a path of its own."""
    activate = draw.activate

    def run(m: Any, x: Tensor) -> Tensor:
        up = x[:, 0] > 0
        h = activate(m.enter(torch.cat([x[up], x[~up]])))
        count = int(up.sum())
        h = torch.cat([activate(m.first(h[:count])), activate(m.second(h[count:]))])
        rows = torch.cat([up.nonzero(), (~up).nonzero()]).squeeze(1)
        return m.head(h)[rows.argsort()]

    return two_blocks(draw, run)


@kind(PARTS)
def in_chunks(draw: Draw) -> Subject:
    activate, way, size = draw.activate, draw.pick("chunk", "split", "backwards"), draw.number(2, 9)

    def run(m: Any, x: Tensor) -> Tensor:
        h = activate(m.enter(x))
        parts = h.chunk(size) if way == "chunk" else h.split(size)
        if way == "backwards":
            found = [activate(m.first(part)) for part in reversed(parts)]
            h = torch.cat(found[::-1])
        else:
            h = torch.cat([activate(m.first(part)) for part in parts])
        return m.head(activate(m.second(h)))

    return two_blocks(draw, run)


@kind(PARTS)
def every_other_row(draw: Draw) -> Subject:
    """One block for even rows and one for odd ones would differ by batch; here both are one."""
    activate, steps = draw.activate, draw.pick(2, 3)

    def run(m: Any, x: Tensor) -> Tensor:
        h = activate(m.enter(x))
        out = torch.empty_like(h)
        for first in range(steps):
            out[first::steps] = activate(m.first(h[first::steps]))
        return m.head(activate(m.second(out)))

    return two_blocks(draw, run)


@kind(PARTS)
def recomputed(draw: Draw) -> Subject:
    reentrant, routed = draw.pick(False, False, True), draw.pick(False, True)

    def run(m: Any, x: Tensor) -> Tensor:
        def block(h: Tensor) -> Tensor:
            if not routed:
                return torch.tanh(m.second(torch.tanh(m.first(h))))
            chosen = h[:, 0] > 0
            out = torch.zeros_like(h)
            out[chosen] = m.first(h[chosen])
            out[~chosen] = m.second(h[~chosen])
            return out

        h = torch.tanh(m.enter(x))
        return m.head(checkpoint(block, h, use_reentrant=reentrant))

    return two_blocks(draw, run)


@kind(PARTS)
def shared_and_tied(draw: Draw) -> Subject:
    """One module in two places and a table that is read again as the head."""
    order = draw.pick("same", "flipped")

    def run(m: Any, ids: Tensor) -> Tensor:
        h = m.words(ids)
        h = torch.tanh(m.outer.inner(h))
        h = m.inner(h.flip(0)).flip(0) if order == "flipped" else m.inner(h)
        pooled = torch.tanh(h).mean(1)
        return m.head(pooled) + pooled @ m.words.weight[: m.head.out_features].T

    inner = draw.linear(draw.width, draw.width)
    model = Net(
        run,
        words=nn.Embedding(WORDS, draw.width),
        inner=inner,
        outer=nn.ModuleDict({"inner": inner}),
        head=draw.head(draw.width),
    )
    return draw.finish(model, draw.texts())


@kind(PARTS)
def gathered_twice(draw: Draw) -> Subject:
    """Each row is taken twice or three times, the copies lying apart, in turn or mixed."""
    activate, copies = draw.activate, draw.pick(2, 3)
    way = draw.pick("apart", "in turn", "mixed")

    def run(m: Any, x: Tensor) -> Tensor:
        rows = torch.arange(len(x))
        rows = rows.repeat_interleave(copies) if way == "in turn" else rows.repeat(copies)
        if way == "mixed":
            rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(7))]
        h = activate(m.first(activate(m.enter(x))[rows]))
        out = h.new_zeros(len(x), h.shape[1]).index_add(0, rows, h)
        return m.head(activate(m.second(out)))

    return two_blocks(draw, run)


@kind(PARTS)
def per_row_weights(draw: Draw) -> Subject:
    """A table of weights, one chosen for each row: a product by example."""
    count = draw.number(2, 4)

    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.tanh(m.enter(x))
        which = (x[:, 0].abs() * 3).long() % count
        if way == "bmm":
            h = torch.bmm(h.unsqueeze(1), m.weight[which]).squeeze(1) + m.bias[which]
        else:
            h = torch.einsum("bi,bio->bo", h, m.weight[which]) + m.bias.index_select(0, which)
        return m.head(torch.tanh(h) + m.first(h) * 0.1 + m.second(h) * 0.1)

    way, size = draw.pick("bmm", "einsum"), draw.hidden
    weight = nn.Parameter(torch.randn(count, size, size) / 2)
    bias = nn.Parameter(torch.randn(count, size) / 2)
    return two_blocks(draw, run, weight=weight, bias=bias)
