"""What the proof of order costs networks that move the rows of every batch otherwise.

    python -m benchmarks.moving_rows

Self-influence over all layers of a packed GRU and of routed experts, as ratios of processor time
to a plain training pass over the same batches, beside autograd on one example at a time. One
thread; the least of several rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tracin_core import Checkpoint, TracIn

EXAMPLES, BATCH, ROUNDS, SAMPLE = 1024, 128, 4, 64


class PackedGru(nn.Module):
    """Texts of unequal lengths through a packed GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(500, 32, padding_idx=0)
        self.recurrent, self.head = nn.GRU(32, 64, batch_first=True), nn.Linear(64, 3)

    def forward(self, texts: Tensor) -> Tensor:  # noqa: D102
        packed = nn.utils.rnn.pack_padded_sequence(
            self.words(texts), (texts != 0).sum(1), batch_first=True, enforce_sorted=False
        )
        return self.head(self.recurrent(packed)[1][-1])


class RoutedExperts(nn.Module):
    """Each row through the one of four experts that it chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(64, 128), nn.Linear(128, 3)
        self.experts = nn.ModuleList(nn.Linear(128, 128) for _ in range(4))

    def forward(self, rows: Tensor) -> Tensor:  # noqa: D102
        rows = self.first(rows).relu()
        chosen, found = rows[:, :4].argmax(1), torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            own = (chosen == number).nonzero()[:, 0]
            if len(own):
                found = found.index_add(0, own, expert(rows[own]))
        return self.head(found.relu())


def make_texts() -> Tensor:
    texts = torch.randint(1, 500, (EXAMPLES, 20))
    lengths = torch.randint(3, 21, (EXAMPLES, 1))
    return texts * (torch.arange(20) < lengths)


def measure(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the least processor time of some rounds, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def compare(model: nn.Module, inputs: Tensor) -> tuple[float, float]:
    """Return the cost of self-influence, by rules and one at a time, in training passes."""
    targets = torch.arange(EXAMPLES) % 3
    examples = TensorDataset(inputs, targets)
    tracin = TracIn(model, [Checkpoint(model.state_dict(), learning_rate=1.0)], batch_size=BATCH)
    tracin.examine(examples)

    def train() -> None:
        for start in range(0, EXAMPLES, BATCH):
            part = slice(start, start + BATCH)
            F.cross_entropy(model(inputs[part]), targets[part]).backward()

    def one_at_a_time() -> None:
        for row in range(SAMPLE):
            value = F.cross_entropy(model(inputs[row : row + 1]), targets[row : row + 1])
            torch.autograd.grad(value, list(model.parameters()), allow_unused=True)

    training = measure(train)
    single = measure(one_at_a_time, 1) * EXAMPLES / SAMPLE
    return measure(lambda: tracin.self_influence(examples)) / training, single / training


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"{EXAMPLES:,} examples in batches of {BATCH}, one checkpoint, seed 0.\n")
    print("| network | self-influence, by rules | one example at a time |")
    print("|---|--:|--:|")
    for name, model, inputs in (
        ("packed GRU", PackedGru(), make_texts()),
        ("routed experts", RoutedExperts(), torch.randn(EXAMPLES, 64)),
    ):
        rules, single = compare(model.eval(), inputs)
        print(f"| {name} | {rules:.1f} | {single:.0f} |")


if __name__ == "__main__":
    main()
