"""Weights that evaluation keeps, merges or changes; and networks whose rows know each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.hostile.draw import Draw, Net, Subject, kind

CACHED = "weights cached in evaluation mode"
MIXING = "examples that depend on their batch"


class Biased(nn.Module):
    """Attention with a bias by distance that evaluation keeps, in one of four ways.

    Args:
        width: Numbers of a token.
        length: Tokens.
        way: "on eval" keeps it when ``eval()`` is called, without a gradient; "lazily" at the
            first pass; "by device" in a dict; "for ever" whatever is loaded or called.
    """

    def __init__(self, width: int, length: int, way: str) -> None:
        super().__init__()
        self.way = way
        self.mix = nn.Linear(width, 3 * width)
        self.biases = nn.Parameter(torch.randn(length))
        places = torch.arange(length)
        self.register_buffer("places", (places[:, None] - places).abs(), persistent=False)
        self.kept: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> Biased:
        """Forget what was kept, or keep it."""
        super().train(mode)
        if mode and self.way != "for ever":
            self.kept.clear()
        elif not mode and self.way == "on eval":
            with torch.no_grad():
                self.kept["bias"] = self.biases[self.places]
        return self

    def read_bias(self) -> Tensor:
        """Return the bias ``(T, T)``."""
        if self.training:
            return self.biases[self.places]
        if "bias" not in self.kept:
            self.kept["bias"] = self.biases[self.places]
        return self.kept["bias"]

    def forward(self, x: Tensor) -> Tensor:
        """Attend, ``(B, T, F)`` to the same."""
        queries, keys, values = self.mix(x).chunk(3, -1)
        scores = queries @ keys.transpose(1, 2) + self.read_bias()
        return scores.softmax(-1) @ values


@kind(CACHED)
def attention_biases(draw: Draw) -> Subject:
    way = draw.pick("on eval", "lazily", "lazily")
    blocks = draw.pick(1, 2)

    def run(m: Any, x: Tensor) -> Tensor:
        for block in m.blocks:
            x = x + block(x)
        return m.head(torch.tanh(x).mean(1))

    made = nn.ModuleList(Biased(draw.width, draw.length, way) for _ in range(blocks))
    return draw.finish(Net(run, blocks=made, head=draw.head(draw.width)), draw.series())


class Merged(nn.Linear):
    """A linear layer with a low-rank correction that evaluation adds to the weight in place."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.down = nn.Parameter(torch.randn(2, inputs) / 2)
        self.up = nn.Parameter(torch.randn(outputs, 2) / 2)
        self.merged = False

    def train(self, mode: bool = True) -> Merged:
        """Merge for evaluation, take apart for training."""
        super().train(mode)
        if mode == self.merged:
            sign = -1 if mode else 1
            self.weight.data += sign * (self.up @ self.down).data
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Apply, ``(B, I)`` to ``(B, O)``."""
        if self.merged:
            return super().forward(x)
        return super().forward(x) + x @ self.down.T @ self.up.T


@kind(CACHED)
def merged_corrections(draw: Draw) -> Subject:
    frozen = draw.pick(False, True)

    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(torch.tanh(m.body(x)))

    body = Merged(draw.width, draw.hidden)
    if frozen:
        body.weight.requires_grad_(False)
    return draw.finish(Net(run, body=body, head=draw.head(draw.hidden)), draw.vectors())


class Normalised(nn.Module):
    """A weight divided by its norm, kept once it is known."""

    def __init__(self, inputs: int, outputs: int, until_train: bool) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(outputs, inputs))
        self.length = nn.Parameter(torch.ones(outputs, 1))
        self.until_train = until_train
        self.kept: Tensor | None = None

    def train(self, mode: bool = True) -> Normalised:
        """Forget the weight."""
        super().train(mode)
        if mode or not self.until_train:
            self.kept = None
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Apply, ``(B, I)`` to ``(B, O)``."""
        weight = self.kept
        if weight is None:
            weight = self.length * self.direction / self.direction.norm(dim=1, keepdim=True)
            if not self.training:
                self.kept = weight
        return x @ weight.T


@kind(CACHED)
def normalised_weights(draw: Draw) -> Subject:
    until_train = draw.pick(False, True)

    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(torch.tanh(m.body(x)))

    body = Normalised(draw.width, draw.hidden, until_train)
    return draw.finish(Net(run, body=body, head=draw.head(draw.hidden)), draw.vectors())


@kind(CACHED)
def fused_batch_norm(draw: Draw) -> Subject:
    """A convolution and its normalisation folded into one, when first evaluated."""

    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 4, 3, bias=False)
            self.norm = nn.BatchNorm2d(4)
            self.kept: tuple[Tensor, Tensor] | None = None

        def train(self, mode: bool = True) -> Folded:
            super().train(mode)
            if mode:
                self.kept = None
            return self

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                return self.norm(self.conv(x))
            if self.kept is None:
                scale = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
                weight = self.conv.weight * scale.view(-1, 1, 1, 1)
                self.kept = weight, self.norm.bias - self.norm.running_mean * scale
            return nn.functional.conv2d(x, *self.kept)

    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(torch.tanh(m.body(x)).mean((2, 3)))

    images = torch.randn(draw.count, 2, 5, 5, dtype=torch.float64)
    return draw.finish(Net(run, body=Folded(), head=draw.head(4)), images)


@kind(MIXING)
def capacity_by_batch(draw: Draw) -> Subject:
    """An expert takes the first few rows of the batch; the rest pass it by."""
    capacity = draw.number(2, 12)

    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.tanh(m.enter(x))
        hit = x[:, 0] > 0
        taken = hit & (hit.cumsum(0) <= capacity)
        out = h.clone()
        out[taken] = torch.tanh(m.expert(h[taken]))
        return m.head(out)

    size = draw.hidden
    model = Net(
        run,
        enter=draw.linear(draw.width, size),
        expert=draw.linear(size, size),
        head=draw.head(size),
    )
    return draw.finish(model, draw.vectors())


@kind(MIXING)
def batch_statistics(draw: Draw) -> Subject:
    """Something of the whole batch goes into every row: its mean, its spread, its largest."""
    way = draw.pick("mean", "spread", "largest", "softmax over rows", "neighbour", "any")

    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.tanh(m.enter(x))
        if way == "mean":
            h = h - h.mean(0)
        elif way == "spread":
            h = h / (1 + h.std(0, unbiased=False))
        elif way == "largest":
            h = h / h.detach().abs().max()
        elif way == "softmax over rows":
            h = h * (1 + h.softmax(0))
        elif way == "neighbour":
            h = h + h.roll(1, 0) / 2
        elif (x > limit).any():
            h = h + torch.tanh(m.more(h))
        return m.head(h + m.more(h) / 4)

    limit = draw.pick(1.5, 2.5)
    size = draw.hidden
    model = Net(
        run,
        enter=draw.linear(draw.width, size),
        more=draw.linear(size, size),
        head=draw.head(size),
    )
    return draw.finish(model, draw.vectors())
