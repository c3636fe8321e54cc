"""Recurrent networks as people write them, over texts of 64 words or spectra of 100 steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks.costs.subject import CLASSES, Costed, register

WORDS, LENGTH, EXAMPLES, BATCH = 8_000, 64, 128, 32


class Reader(nn.Module):
    """Word vectors, a recurrent layer, and a map from its last state."""

    def __init__(self, layer: type[nn.RNNBase], *, both: bool = False, layers: int = 1) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 128)
        self.layer = layer(128, 192, num_layers=layers, bidirectional=both, batch_first=True)
        self.head = nn.Linear(384 if both else 192, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` of texts ``(B, T)``."""
        states, _ = self.layer(self.words(ids))
        return self.head(states.mean(1))


class PackedReader(Reader):
    """The same over texts without their padding."""

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        """Return logits ``(B, classes)`` of texts ``(B, T)`` of some lengths ``(B,)``."""
        packed = pack_padded_sequence(
            self.words(ids), lengths, batch_first=True, enforce_sorted=False
        )
        _, last = self.layer(packed)
        return self.head(last[-1])


class CellReader(nn.Module):
    """A cell in a loop of Python."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 128)
        self.cell = nn.LSTMCell(128, 192)
        self.head = nn.Linear(192, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` of texts ``(B, T)``."""
        vectors = self.words(ids)
        state = vectors.new_zeros(len(ids), 192)
        memory = state
        for step in range(16):
            state, memory = self.cell(vectors[:, step], (state, memory))
        return self.head(state)


class Listener(nn.Module):
    """Convolutions over a spectrum, and a GRU over time."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d((4, 1)),
        )
        self.layer = nn.GRU(64 * 5, 128, batch_first=True, bidirectional=True)
        self.head = nn.Linear(256, CLASSES)

    def forward(self, spectra: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` of spectra ``(B, 1, 40, T)``."""
        features = self.features(spectra)
        states, _ = self.layer(features.flatten(1, 2).transpose(1, 2))
        return self.head(states.mean(1))


def _read(make: Callable[[], nn.Module], lengths: bool = False) -> Costed:
    inputs: tuple[Tensor, ...] = (torch.randint(1, WORDS, (EXAMPLES, LENGTH)),)
    if lengths:
        inputs = (*inputs, torch.randint(LENGTH // 4, LENGTH + 1, (EXAMPLES,)))
    return Costed(make().eval(), inputs, BATCH)


def _listen() -> Costed:
    return Costed(Listener().eval(), (torch.randn(64, 1, 40, 100),), 16)


register("torch", "LSTM", partial(_read, partial(Reader, nn.LSTM)))
register(
    "torch", "BiLSTM of 2 layers", partial(_read, partial(Reader, nn.LSTM, both=True, layers=2))
)
register("torch", "GRU", partial(_read, partial(Reader, nn.GRU)))
register("torch", "packed GRU", partial(_read, partial(PackedReader, nn.GRU), lengths=True))
register("torch", "LSTMCell in a loop", partial(_read, CellReader))
register("torch", "CNN with GRU", _listen)
