"""Recurrent layers over packed texts, and recurrences written by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from benchmarks.hostile.draw import Draw, Net, Subject, kind

PACKED = "packed recurrent"
SORTED = "sorted, run, put back"


def layer(draw: Draw, *, bidirectional: bool, batch_first: bool = True) -> nn.RNNBase:
    """Return a recurrent layer of one or two levels."""
    make = draw.pick(nn.GRU, nn.LSTM, nn.RNN)
    return make(
        draw.width,
        draw.hidden,
        draw.pick(1, 1, 2),
        bidirectional=bidirectional,
        batch_first=batch_first,
    )


def final_state(state: Any, both: bool) -> Tensor:
    """Return the last level's state, of both directions where there are two."""
    state = state[0] if isinstance(state, tuple) else state
    return torch.cat([state[-2], state[-1]], 1) if both else state[-1]


def model_with(draw: Draw, run: Any, both: bool, batch_first: bool = True) -> Subject:
    """Return words, a recurrent layer and a head."""
    model = Net(
        run,
        words=draw.table(),
        layer=layer(draw, bidirectional=both, batch_first=batch_first),
        head=draw.head(draw.hidden * (1 + both)),
    )
    return draw.finish(model, draw.texts())


@kind(PACKED)
def packed_last_state(draw: Draw) -> Subject:
    both = draw.pick(False, True)
    batch_first = draw.pick(True, False)

    def run(m: Any, ids: Tensor) -> Tensor:
        words = m.words(ids) if batch_first else m.words(ids).transpose(0, 1)
        packed = pack_padded_sequence(
            words, (ids != 0).sum(1).cpu(), batch_first=batch_first, enforce_sorted=False
        )
        return m.head(final_state(m.layer(packed)[1], both))

    return model_with(draw, run, both, batch_first)


@kind(PACKED)
def packed_and_padded_back(draw: Draw) -> Subject:
    both, way = draw.pick(False, True), draw.pick("mean", "last", "max")

    def run(m: Any, ids: Tensor) -> Tensor:
        lengths = (ids != 0).sum(1)
        packed = pack_padded_sequence(
            m.words(ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        out, _ = pad_packed_sequence(m.layer(packed)[0], batch_first=True)
        if way == "last":
            return m.head(out[torch.arange(len(ids)), lengths - 1])
        if way == "max":
            padding = (ids[:, : out.shape[1]] == 0).unsqueeze(2)
            return m.head(out.masked_fill(padding, -torch.inf).amax(1))
        return m.head(out.sum(1) / lengths.unsqueeze(1))

    return model_with(draw, run, both)


@kind(PACKED)
def layers_on_packed_data(draw: Draw) -> Subject:
    """Linear layers on the packed words themselves: time by time, long texts first."""

    def run(m: Any, ids: Tensor) -> Tensor:
        lengths = (ids != 0).sum(1)
        packed = pack_padded_sequence(
            m.words(ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        data = torch.tanh(m.layer(packed.data))
        out, _ = pad_packed_sequence(packed._replace(data=data), batch_first=True)
        return m.head(out.sum(1) / lengths.unsqueeze(1))

    model = Net(
        run,
        words=draw.table(),
        layer=draw.linear(draw.width, draw.hidden),
        head=draw.head(draw.hidden),
    )
    return draw.finish(model, draw.texts())


@kind(PACKED)
def list_of_texts(draw: Draw) -> Subject:
    """``pack_sequence`` of the texts cut to their lengths."""
    both = draw.pick(False, True)

    def run(m: Any, ids: Tensor) -> Tensor:
        texts = [m.words(row[row != 0]) for row in ids]
        return m.head(final_state(m.layer(pack_sequence(texts, enforce_sorted=False))[1], both))

    return model_with(draw, run, both)


@kind(PACKED)
def sorted_and_packed(draw: Draw) -> Subject:
    both, stable = draw.pick(False, True), draw.pick(True, False)

    def run(m: Any, ids: Tensor) -> Tensor:
        lengths, order = (ids != 0).sum(1).sort(descending=True, stable=stable)
        packed = pack_padded_sequence(m.words(ids[order]), lengths.cpu(), batch_first=True)
        return m.head(final_state(m.layer(packed)[1], both)[order.argsort()])

    return model_with(draw, run, both)


@kind(SORTED)
def shrinking_batch(draw: Draw) -> Subject:
    """A cell step by step over the texts that still go on, the longest first."""
    cell = draw.pick(nn.GRUCell, nn.RNNCell)

    def run(m: Any, ids: Tensor) -> Tensor:
        lengths, order = (ids != 0).sum(1).sort(descending=True, stable=True)
        words = m.words(ids[order])
        state = words.new_zeros(len(ids), m.cell.hidden_size)
        for step in range(int(lengths[0])):
            going = int((lengths > step).sum())
            state = torch.cat([m.cell(words[:going, step], state[:going]), state[going:]])
        return m.head(state[order.argsort()])

    model = Net(
        run,
        words=draw.table(),
        cell=cell(draw.width, draw.hidden),
        head=draw.head(draw.hidden),
    )
    return draw.finish(model, draw.texts())


@kind(SORTED)
def sorted_by_value(draw: Draw) -> Subject:
    activate, down = draw.activate, draw.pick(False, True)

    def run(m: Any, x: Tensor) -> Tensor:
        order = x[:, 0].argsort(descending=down)
        h = activate(m.second(activate(m.first(x[order]))))
        back = torch.empty_like(order)
        back[order] = torch.arange(len(x))
        return m.head(h[back]) if late else m.head(h)[back]

    late, size = draw.pick(False, True), draw.hidden
    model = Net(
        run,
        first=draw.linear(draw.width, size),
        second=draw.linear(size, size),
        head=draw.head(size),
    )
    return draw.finish(model, draw.vectors())


@kind(SORTED)
def buckets_of_equal_length(draw: Draw) -> Subject:
    """Texts of the same length run together, without padding."""
    hidden = draw.hidden

    def run(m: Any, ids: Tensor) -> Tensor:
        lengths = (ids != 0).sum(1)
        out = m.head.weight.new_zeros(len(ids), hidden)
        for size in lengths.unique(sorted=True):
            rows = (lengths == size).nonzero().squeeze(1)
            states = m.layer(m.words(ids[rows][:, : int(size)]))[0]
            out = out.index_copy(0, rows, states[:, -1])
        return m.head(out)

    return model_with(draw, run, both=False)


@kind(SORTED)
def sorted_convolution(draw: Draw) -> Subject:
    """A convolution over texts in order of their lengths, cut to the longest."""

    def run(m: Any, ids: Tensor) -> Tensor:
        lengths, order = (ids != 0).sum(1).sort(descending=True)
        ids = ids[order][:, : int(lengths[0])]
        # What follows a text is zero to the convolution, as its own padding is.
        words = m.words(ids).transpose(1, 2) * (ids != 0).unsqueeze(1)
        h = torch.tanh(m.layer(words)) * (ids != 0).unsqueeze(1)
        return m.head(h.sum(2)[order.argsort()])

    model = Net(
        run,
        words=draw.table(),
        layer=nn.Conv1d(draw.width, draw.hidden, 3, padding=1),
        head=draw.head(draw.hidden),
    )
    return draw.finish(model, draw.texts())
