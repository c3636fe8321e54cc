"""Experts: rows are picked, run and put back, in every way that is written for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.hostile.draw import Draw, Net, Subject, kind

ROUTED = "routed experts"


def experts(draw: Draw, inputs: int, outputs: int) -> nn.ModuleList:
    """Return two to four networks of the same shape."""
    deep = draw.pick(False, True)
    return nn.ModuleList(
        nn.Sequential(draw.linear(inputs, outputs), nn.Tanh(), draw.linear(outputs, outputs))
        if deep
        else draw.linear(inputs, outputs)
        for _ in range(draw.number(2, 4))
    )


def choose_rows(draw: Draw) -> Any:
    """Return a function that sends rows to experts: by the sign, the largest, or a learnt gate."""

    def choose(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = m.gate(x).softmax(1)
        best, top = scores.max(1)
        if way == "sign":
            top = (x[:, 0] > 0).long() * (len(m.experts) - 1)
        return (torch.ones_like(best) if way == "hard" else best), top

    way = draw.pick("learnt", "learnt", "sign", "hard")
    return choose


def build(draw: Draw, run: Any, x: Tensor) -> Subject:
    """Return a network with experts, a gate and a head."""
    chosen = experts(draw, draw.width, draw.hidden)
    gate = nn.Linear(draw.width, len(chosen))
    model = Net(run, experts=chosen, gate=gate, head=draw.head(draw.hidden))
    return draw.finish(model, x)


@kind(ROUTED)
def index_add(draw: Draw) -> Subject:
    choose, hidden, activate = choose_rows(draw), draw.hidden, draw.activate

    def run(m: Any, x: Tensor) -> Tensor:
        weight, top = choose(m, x)
        out = x.new_zeros(len(x), hidden)
        for k, expert in enumerate(m.experts):
            rows = (top == k).nonzero().squeeze(1)
            if len(rows):
                out = out.index_add(0, rows, expert(x[rows]) * weight[rows].unsqueeze(1))
        return m.head(activate(out))

    return build(draw, run, draw.vectors())


@kind(ROUTED)
def masked_assignment(draw: Draw) -> Subject:
    choose, hidden, activate = choose_rows(draw), draw.hidden, draw.activate
    skip_empty = draw.pick(False, True)

    def run(m: Any, x: Tensor) -> Tensor:
        weight, top = choose(m, x)
        out = x.new_zeros(len(x), hidden)
        for k, expert in enumerate(m.experts):
            chosen = top == k
            if skip_empty and not chosen.any():
                continue
            out[chosen] = expert(x[chosen]) * weight[chosen].unsqueeze(1)
        return m.head(activate(out))

    return build(draw, run, draw.vectors())


@kind(ROUTED)
def scatter_back(draw: Draw) -> Subject:
    choose, hidden = choose_rows(draw), draw.hidden
    way = draw.pick("scatter", "index_copy", "index_put")

    def run(m: Any, x: Tensor) -> Tensor:
        weight, top = choose(m, x)
        out = x.new_zeros(len(x), hidden)
        for k, expert in enumerate(m.experts):
            rows = (top == k).nonzero().squeeze(1)
            found = torch.tanh(expert(x[rows])) * weight[rows].unsqueeze(1)
            if way == "scatter":
                out = out.scatter(0, rows.unsqueeze(1).expand_as(found), found)
            elif way == "index_copy":
                out = out.index_copy(0, rows, found)
            else:
                out = out.index_put((rows,), found)
        return m.head(out)

    return build(draw, run, draw.vectors())


@kind(ROUTED)
def top_two(draw: Draw) -> Subject:
    hidden = draw.hidden
    renormalise = draw.pick(False, True)

    def run(m: Any, x: Tensor) -> Tensor:
        weights, top = m.gate(x).softmax(1).topk(2, dim=1)
        if renormalise:
            weights = weights / weights.sum(1, keepdim=True)
        out = x.new_zeros(len(x), hidden)
        for k, expert in enumerate(m.experts):
            rows, place = torch.where(top == k)
            out.index_add_(0, rows, expert(x[rows]) * weights[rows, place].unsqueeze(1))
        return m.head(torch.tanh(out))

    return build(draw, run, draw.vectors())


@kind(ROUTED)
def tokens_to_experts(draw: Draw) -> Subject:
    hidden, size = draw.hidden, draw.pick(1, 2)

    def run(m: Any, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        weights, top = m.gate(flat).softmax(1).topk(size, dim=1)
        out = flat.new_zeros(len(flat), hidden)
        hits = nn.functional.one_hot(top, len(m.experts)).permute(2, 1, 0)
        for k, expert in enumerate(m.experts):
            place, rows = torch.where(hits[k])
            out.index_add_(0, rows, expert(flat[rows]) * weights[rows, place].unsqueeze(1))
        return m.head(torch.tanh(out).view(len(x), -1, hidden).mean(1))

    return build(draw, run, draw.series())


@kind(ROUTED)
def sorted_by_expert(draw: Draw) -> Subject:
    """All rows of the first expert, then all of the second; put back by the inverse order."""
    tokens = draw.pick(False, True)
    activate = draw.activate

    def run(m: Any, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        weight, top = m.gate(flat).softmax(1).max(1)
        order = top.argsort(stable=True)
        counts = top.bincount(minlength=len(m.experts)).tolist()
        parts = flat[order].split(counts)
        ran = torch.cat([expert(p) for expert, p in zip(m.experts, parts, strict=True)])
        back = ran[order.argsort()] * weight.unsqueeze(1)
        return m.head(activate(back).view(len(x), -1, back.shape[1]).mean(1))

    return build(draw, run, draw.series() if tokens else draw.vectors())


@kind(ROUTED)
def capacity_by_example(draw: Draw) -> Subject:
    """Of each example's tokens an expert takes the first few; the rest pass it by."""
    hidden, capacity = draw.hidden, draw.number(1, 3)

    def run(m: Any, x: Tensor) -> Tensor:
        top = m.gate(x).softmax(-1)
        hit = nn.functional.one_hot(top.argmax(-1), len(m.experts))
        hit = hit * (hit.cumsum(1) <= capacity)
        out = x.new_zeros(*x.shape[:2], hidden)
        for k, expert in enumerate(m.experts):
            chosen = hit[..., k].bool()
            out[chosen] = expert(x[chosen]) * top[..., k][chosen].unsqueeze(1)
        return m.head(torch.tanh(out).mean(1))

    return build(draw, run, draw.series())


@kind(ROUTED)
def dense_experts(draw: Draw) -> Subject:
    """Every expert runs on every row, as einsum over stacked weights or in a loop."""
    stacked = draw.pick(False, True)
    count = draw.number(2, 4)

    def run(m: Any, x: Tensor) -> Tensor:
        weights = m.gate(x).softmax(1)
        if stacked:
            out = torch.einsum("bi,eio,be->bo", x, m.weight, weights)
        else:
            found = torch.stack([expert(x) for expert in m.experts], 1)
            out = (found * weights.unsqueeze(2)).sum(1)
        return m.head(torch.tanh(out))

    gate = nn.Linear(draw.width, count)
    if stacked:
        weight = nn.Parameter(torch.randn(count, draw.width, draw.hidden) / 2)
        model = Net(run, weight=weight, gate=gate, head=draw.head(draw.hidden))
    else:
        chosen = nn.ModuleList(draw.linear(draw.width, draw.hidden) for _ in range(count))
        model = Net(run, experts=chosen, gate=gate, head=draw.head(draw.hidden))
    return draw.finish(model, draw.vectors())


@kind(ROUTED)
def some_rows_only(draw: Draw) -> Subject:
    """One more layer for the rows that need it, the others stay as they are."""
    activate = draw.activate

    def run(m: Any, x: Tensor) -> Tensor:
        h = activate(m.first(x))
        chosen = h[:, 0] > 0
        more = m.second(h[chosen])
        if way == "cat and sort":
            rows = torch.cat([chosen.nonzero(), (~chosen).nonzero()]).squeeze(1)
            h = torch.cat([more, h[~chosen]])[rows.argsort()]
        elif way == "masked_scatter":
            h = h.masked_scatter(chosen.unsqueeze(1), more)
        else:
            h = h.clone()
            h[chosen] = h[chosen] + more
        return m.head(h)

    way = draw.pick("cat and sort", "masked_scatter", "assign")
    size = draw.hidden
    model = Net(
        run,
        first=draw.linear(draw.width, size),
        second=draw.linear(size, size),
        head=draw.head(size),
    )
    return draw.finish(model, draw.vectors())


@kind(ROUTED)
def best_rows_of_the_batch_in_order(draw: Draw) -> Subject:
    """As many rows as the batch has, taken by rank: a permutation that changes every time."""
    activate = draw.activate

    def run(m: Any, x: Tensor) -> Tensor:
        h = activate(m.first(x))
        order = (m.gate(h).squeeze(1) if learnt else h[:, 0]).topk(len(x)).indices
        out = torch.empty_like(h).index_copy(0, order, m.second(h[order]))
        return m.head(activate(out) + h)

    learnt, size = draw.pick(False, True), draw.hidden
    parts = {"first": draw.linear(draw.width, size), "second": draw.linear(size, size)}
    if learnt:
        parts["gate"] = nn.Linear(size, 1)
    return draw.finish(Net(run, **parts, head=draw.head(size)), draw.vectors())
