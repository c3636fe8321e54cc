"""Texts without their padding and graphs as one flat list of nodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.hostile.draw import WORDS, Draw, Net, Subject, kind

UNPADDED = "unpadded texts"
GRAPHS = "flat graph nodes"


def with_body(draw: Draw, run: Any, **more: nn.Module) -> Subject:
    """Return words, a body, a head."""
    model = Net(
        run,
        words=draw.table(),
        body=draw.linear(draw.width, draw.hidden),
        head=draw.head(draw.hidden),
        **more,
    )
    return draw.finish(model, draw.texts())


@kind(UNPADDED)
def words_by_mask(draw: Draw) -> Subject:
    """The words that are there, in one row after the other, summed by text."""
    activate, norm = draw.activate, draw.pick(True, False)

    def run(m: Any, ids: Tensor) -> Tensor:
        mask = ids != 0
        text = mask.nonzero()[:, 0]
        h = m.body(m.words(ids[mask]))
        h = activate(m.norm(h) if norm else h)
        pooled = h.new_zeros(len(ids), h.shape[1]).index_add(0, text, h)
        return m.head(pooled / mask.sum(1, keepdim=True))

    more = {"norm": nn.LayerNorm(draw.hidden)} if norm else {}
    return with_body(draw, run, **more)


@kind(UNPADDED)
def unpadded_and_padded_back(draw: Draw) -> Subject:
    """As ModernBERT does: layers on flat words, attention on the padded ones."""
    attend = draw.pick(True, False)

    def run(m: Any, ids: Tensor) -> Tensor:
        mask = ids != 0
        flat = torch.tanh(m.body(m.words(ids)[mask]))
        h = flat.new_zeros(*ids.shape, flat.shape[1])
        h[mask] = flat
        if attend:
            h = h + m.attention(h, h, h, key_padding_mask=~mask, need_weights=False)[0]
            h = h * mask.unsqueeze(2)
            flat = m.after(h[mask])
            h = h.masked_scatter(mask.unsqueeze(2), flat)
        return m.head(h.sum(1))

    size = draw.hidden
    more: dict[str, nn.Module] = {}
    if attend:
        more["attention"] = nn.MultiheadAttention(size, 2, batch_first=True)
        more["after"] = nn.Linear(size, size)
    return with_body(draw, run, **more)


@kind(UNPADDED)
def bags_with_offsets(draw: Draw) -> Subject:
    mode = draw.pick("mean", "sum")

    def run(m: Any, ids: Tensor) -> Tensor:
        lengths = (ids != 0).sum(1)
        offsets = lengths.cumsum(0) - lengths
        return m.head(torch.tanh(m.body(m.bag(ids[ids != 0], offsets))))

    model = Net(
        run,
        bag=nn.EmbeddingBag(WORDS, draw.width, mode=mode),
        body=draw.linear(draw.width, draw.hidden),
        head=draw.head(draw.hidden),
    )
    return draw.finish(model, draw.texts())


@kind(UNPADDED)
def split_by_length(draw: Draw) -> Subject:
    way = draw.pick("max", "mean", "last", "attention")

    def run(m: Any, ids: Tensor) -> Tensor:
        mask = ids != 0
        h = torch.tanh(m.body(m.words(ids[mask])))
        found = []
        for part in h.split(mask.sum(1).tolist()):
            if way == "attention":
                found.append((m.score(part).softmax(0) * part).sum(0))
            else:
                found.append({"max": part.amax(0), "mean": part.mean(0), "last": part[-1]}[way])
        return m.head(torch.stack(found))

    more = {"score": nn.Linear(draw.hidden, 1)} if way == "attention" else {}
    return with_body(draw, run, **more)


@kind(UNPADDED)
def words_with_their_text(draw: Draw) -> Subject:
    """The mean of each text goes back to each of its words."""

    def run(m: Any, ids: Tensor) -> Tensor:
        mask = ids != 0
        counts = mask.sum(1)
        text = torch.arange(len(ids)).repeat_interleave(counts)
        h = torch.tanh(m.body(m.words(ids[mask])))
        mean = h.new_zeros(len(ids), h.shape[1]).index_add(0, text, h) / counts.unsqueeze(1)
        h = torch.tanh(
            m.both(torch.cat([h, mean[text] if way else mean.repeat_interleave(counts, 0)], 1))
        )
        return m.head(h.new_zeros(len(ids), h.shape[1]).index_add(0, text, h))

    way = draw.pick(True, False)
    return with_body(draw, run, both=nn.Linear(2 * draw.hidden, draw.hidden))


@kind(UNPADDED)
def one_row_for_all(draw: Draw) -> Subject:
    """All texts as one long text, convolved with gaps between; or attended within blocks."""
    way = draw.pick("convolution", "attention")

    def run(m: Any, ids: Tensor) -> Tensor:
        mask = ids != 0
        text = mask.nonzero()[:, 0]
        if way == "attention":
            h = m.body(m.words(ids[mask])).unsqueeze(0)
            apart = text.unsqueeze(0) != text.unsqueeze(1)
            h = h + m.mix(h, h, h, attn_mask=apart, need_weights=False)[0]
            h = torch.tanh(h.squeeze(0))
        else:
            # A gap of one word behind each text keeps a kernel of three within its text.
            gaps = torch.cat([ids, ids.new_zeros(len(ids), 1)], 1)
            kept = torch.cat([mask, mask.new_ones(len(ids), 1)], 1)
            words = m.words(gaps[kept]) * (gaps[kept] != 0).unsqueeze(1)
            h = m.mix(words.T.unsqueeze(0)).squeeze(0).T
            h = torch.tanh(m.body(h)[gaps[kept] != 0])
        pooled = h.new_zeros(len(ids), h.shape[1]).index_add(0, text, h)
        return m.head(pooled)

    if way == "attention":
        return with_body(draw, run, mix=nn.MultiheadAttention(draw.hidden, 2, batch_first=True))
    return with_body(draw, run, mix=nn.Conv1d(draw.width, draw.width, 3, padding=1))


def nodes_of(draw: Draw) -> tuple[Tensor, Tensor, int]:
    """Return features ``(N, T, F)``, which nodes there are ``(N, T)``, and T."""
    count = draw.length + 1
    features = torch.randn(draw.count, count, draw.width, dtype=torch.float64)
    sizes = torch.randint(1, count + 1, (draw.count,))
    way = draw.pick("all", "any", "mirrored")
    if way == "all":
        sizes[:] = count
    if way == "mirrored":
        sizes[1::2] = 1 + count - sizes[: len(sizes) // 2 * 2 : 2]
    return features, torch.arange(count) < sizes.unsqueeze(1), count


@kind(GRAPHS)
def nodes_and_edges(draw: Draw) -> Subject:
    """Messages along a ring of each graph's nodes, over one list of all nodes and edges."""
    features, there, _ = nodes_of(draw)
    way = draw.pick("index_add", "scatter_add", "mean")
    rounds = draw.pick(1, 2)

    def run(m: Any, x: Tensor, there: Tensor) -> Tensor:
        mask = there > 0
        graph = mask.nonzero()[:, 0]
        h = m.enter(x[mask])
        starts = mask.sum(1).cumsum(0) - mask.sum(1)
        place = torch.arange(len(h)) - starts[graph]
        target = starts[graph] + (place + 1) % mask.sum(1)[graph]
        for _ in range(rounds):
            message = torch.tanh(m.message(h))
            if way == "scatter_add":
                index = target.unsqueeze(1).expand_as(message)
                came = torch.zeros_like(h).scatter_add(0, index, message)
            else:
                came = torch.zeros_like(h).index_add(0, target, message)
            h = torch.tanh(m.update(torch.cat([h, came], 1)))
        pooled = h.new_zeros(len(x), h.shape[1]).index_add(0, graph, h)
        return m.head(pooled / mask.sum(1, keepdim=True) if way == "mean" else pooled)

    size = draw.hidden
    model = Net(
        run,
        enter=draw.linear(draw.width, size),
        message=draw.linear(size, size),
        update=draw.linear(2 * size, size),
        head=draw.head(size),
    )
    return draw.finish(model, features, there.double(), key=there.sum(1))


@kind(GRAPHS)
def nodes_in_turn(draw: Draw) -> Subject:
    """The first node of every graph, then the second of every graph, and so on."""
    features, there, _ = nodes_of(draw)
    activate = draw.activate

    def run(m: Any, x: Tensor, there: Tensor) -> Tensor:
        mask = there.T > 0
        graph = mask.nonzero()[:, 1]
        h = activate(m.body(x.transpose(0, 1)[mask]))
        h = activate(m.more(h))
        return m.head(h.new_zeros(len(x), h.shape[1]).index_add(0, graph, h))

    size = draw.hidden
    model = Net(
        run,
        body=draw.linear(draw.width, size),
        more=draw.linear(size, size),
        head=draw.head(size),
    )
    return draw.finish(model, features, there.double(), key=there.sum(1))


@kind(GRAPHS)
def nodes_by_size_of_graph(draw: Draw) -> Subject:
    """Graphs in order of their sizes; edges drawn between all nodes of one graph."""
    features, there, _ = nodes_of(draw)

    def run(m: Any, x: Tensor, there: Tensor) -> Tensor:
        sizes = (there > 0).sum(1)
        order = sizes.argsort(stable=True)
        mask = there[order] > 0
        graph = order[mask.nonzero()[:, 0]]
        h = torch.tanh(m.body(x[order][mask]))
        source, target = torch.where(graph.unsqueeze(0) == graph.unsqueeze(1))
        edges = torch.tanh(m.edge(torch.cat([h[source], h[target]], 1)))
        h = h.index_add(0, target, edges)
        return m.head(h.new_zeros(len(x), h.shape[1]).index_add(0, graph, h))

    size = draw.hidden
    model = Net(
        run,
        body=draw.linear(draw.width, size),
        edge=draw.linear(2 * size, size),
        head=draw.head(size),
    )
    return draw.finish(model, features, there.double(), key=there.sum(1))


@kind(GRAPHS)
def one_large_matrix(draw: Draw) -> Subject:
    """All graphs in one adjacency matrix, with blocks on its diagonal."""
    features, there, count = nodes_of(draw)
    sparse = draw.pick(False, False, True)

    def run(m: Any, x: Tensor, there: Tensor) -> Tensor:
        size = len(x)
        flat = (x * there.unsqueeze(2)).reshape(size * count, -1)
        blocks = torch.block_diag(*(torch.outer(row, row) / row.sum() for row in there))
        matrix = blocks.to_sparse() if sparse else blocks
        h = torch.tanh(matrix @ m.body(flat))
        h = torch.tanh(matrix @ m.more(h)) * there.reshape(-1, 1)
        return m.head(h.view(size, count, -1).sum(1))

    size = draw.hidden
    model = Net(
        run,
        body=draw.linear(draw.width, size),
        more=draw.linear(size, size),
        head=draw.head(size),
    )
    return draw.finish(model, features, there.double(), key=there.sum(1))


@kind(GRAPHS)
def nested_sets(draw: Draw) -> Subject:
    """Words of sentences of documents, flattened twice."""
    length = draw.length

    def run(m: Any, ids: Tensor) -> Tensor:
        sentences = ids.flatten(0, 1)
        mask = sentences != 0
        words = torch.tanh(m.body(m.words(sentences[mask])))
        owner = mask.nonzero()[:, 0]
        pooled = words.new_zeros(len(sentences), words.shape[1]).index_add(0, owner, words)
        full = mask.any(1)
        h = torch.zeros_like(pooled)
        h[full] = torch.tanh(m.upper(pooled[full]))
        return m.head(h.view(len(ids), -1, h.shape[1]).sum(1))

    ids = torch.randint(0, WORDS, (draw.count, 3, length))
    ids = ids * (torch.rand(draw.count, 3, 1) < 0.7)
    ids[:, 0, 0] = 1
    model = Net(
        run,
        words=draw.table(),
        body=draw.linear(draw.width, draw.hidden),
        upper=draw.linear(draw.hidden, draw.hidden),
        head=draw.head(draw.hidden),
    )
    return draw.finish(model, ids)
