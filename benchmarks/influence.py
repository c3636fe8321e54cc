"""What the influence of every train example on every test example costs, ours and the peers'.

    python -m benchmarks.influence [--networks CNN resnet18] [--sizes 4 64 1000] [--rounds 3]
                                   [--threads 1] [--skip-peers]

Prints markdown, with processor time. Contenders go over the same examples at the same
checkpoints and take turns; medians of some rounds are given. A peer that would take more than
twenty seconds is measured once on each of two parts of the train set (``influence_peers``). Errors
are the largest ones, relative to the product of the two gradients' norms: against float64 and one
backward pass per example for some pairs, and between a contender and ours for all of them.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.influence_peers import (
    MOST_SECONDS,
    Estimate,
    Run,
    be_quiet,
    estimate,
    find_peers,
    take,
)
from benchmarks.networks import LARGE, LEARNING_RATE, SMALL, Subject, make_examples, train
from benchmarks.peers import DATTRI
from benchmarks.self_influence import time_interleaved
from tracin_core import Checkpoint, TracIn

SELF, BOTH = "self-influence of the train examples", "self-influence of both"
VECTORS = "exact vectors of both"
OURS, LOADER = "**influence**", "influence, test loader of four batches"
# Bytes of gradients that a contender may hold at once: what is beyond is left out of the table.
MOST_BYTES = 6_000_000_000
# Train and test examples whose scores are compared with float64.
CHECKED_TRAIN, CHECKED_TEST = 16, 4


@dataclass(frozen=True)
class Setting:
    """How a network is measured.

    Attributes:
        subject: The network and the shape of its examples.
        num_train: Train examples N.
        num_checkpoints: Checkpoints C.
        sizes: Test examples M.
        dattri_sizes: For how many of them dattri is measured: of a resnet18 a gradient takes it
            over three seconds in batches of 1 to 32.
    """

    subject: Subject
    num_train: int
    num_checkpoints: int
    sizes: tuple[int, ...] = (4, 64, 1000)
    dattri_sizes: tuple[int, ...] = (4, 64, 1000)


SETTINGS = {
    "CNN": Setting(SMALL["CNN"], 256, 3),
    "resnet18": Setting(LARGE["resnet18"], 32, 1, (4, 64), (4,)),
}


def measure(name: str, options: argparse.Namespace) -> None:
    """Print a network's tables."""
    torch.manual_seed(0)
    setting = SETTINGS[name]
    sizes = options.sizes or setting.sizes
    subject = setting.subject
    count = setting.num_train + max(sizes)
    everything = make_examples(Subject(subject.build, count, 0, subject.shape))
    examples = cut(everything, 0, setting.num_train)
    model = subject.build()
    checkpoints = train(model, examples, subject.batch_size)[-setting.num_checkpoints :]
    total = sum(value.numel() for value in model.parameters())
    print(
        f"\n**{name}**, {total:,} parameters: {setting.num_train:,} train examples, "
        f"{len(checkpoints)} checkpoints, batches of {subject.batch_size}"
    )
    for size in sizes:
        test = cut(everything, setting.num_train, setting.num_train + size)
        print_table(model, checkpoints, examples, test, setting, options)


def cut(examples: TensorDataset, start: int, stop: int) -> TensorDataset:
    return TensorDataset(*(tensor[start:stop] for tensor in examples.tensors))


def print_table(
    model: nn.Module,
    checkpoints: list[Checkpoint],
    examples: TensorDataset,
    test: TensorDataset,
    setting: Setting,
    options: argparse.Namespace,
) -> None:
    """Print what the contenders take for one test set, and how far they are off."""
    tracin = TracIn(model, checkpoints, device="cpu", batch_size=setting.subject.batch_size)
    loader = DataLoader(test, batch_size=-(-len(test) // 4))
    runs: dict[str, Callable[[], object]] = {
        SELF: lambda: tracin.self_influence(examples),
        BOTH: lambda: [tracin.self_influence(part) for part in (examples, test)],
    }
    scorers: dict[str, Run] = {
        OURS: lambda: tracin.influence(examples, test),
        LOADER: lambda: tracin.influence(examples, loader),
    }
    numbers = len(checkpoints) * sum(value.numel() for value in model.parameters())
    holds = 4 * numbers * (len(examples) + len(test)) <= MOST_BYTES
    estimates: dict[str, Estimate] = {}
    if holds:
        runs[VECTORS] = lambda: [tracin.vectors(part) for part in (examples, test)]
        if not options.skip_peers:
            own = (copy.deepcopy(model), checkpoints, examples, test, setting.subject)
            for peer in find_peers(*own, takes_dattri=len(test) in setting.dattri_sizes):
                found = estimate(peer, len(examples))
                if found.calculate(len(examples)) > MOST_SECONDS:
                    estimates[peer.name] = found
                else:
                    scorers[peer.name] = peer.make(len(examples))
    seconds = time_interleaved(runs | scorers, options.rounds, time.process_time)
    with be_quiet():
        scores = {name: run() for name, run in scorers.items()}
    scores |= {name: found.scores for name, found in estimates.items()}
    seconds |= {name: found.calculate(len(examples)) for name, found in estimates.items()}
    norms = [tracin.self_influence(part).double().sqrt() for part in (examples, test)]
    truth = ask_oracle(model, checkpoints, examples, test)
    print(f"\n{len(test):,} test examples:\n")
    print("| | time | / self-influence of both | / ours | error | differs from ours |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, value in seconds.items():
        errors = (" ", " ")
        if name in scores:
            errors = find_errors(scores[name], scores[OURS], truth, norms[0].outer(norms[1]))
        mark = " *" if name in estimates else ""
        print(
            f"| {name}{mark} | {value * 1e3:,.0f} ms | {value / seconds[BOTH]:.2f} | "
            f"{value / seconds[OURS]:.2f} | {errors[0]} | {errors[1]} |"
        )
    print_notes(estimates, len(examples))
    if not holds:
        held = 4 * numbers * len(test) / 1e9
        print(
            f"\nGradients of the test examples would take {held:.0f} GB whole, as peers hold them."
        )
    if len(test) not in setting.dattri_sizes and not options.skip_peers:
        print(f"\n{DATTRI} is left out here for the time that it takes.")


def find_errors(scores: Tensor, ours: Tensor, truth: Tensor, scale: Tensor) -> tuple[str, str]:
    """Return how far scores of the first train examples are off the truth, and ours."""
    scores, count = scores.double(), len(scores)
    part = (slice(min(CHECKED_TRAIN, count)), slice(CHECKED_TEST))
    off = (scores[part] - truth[: len(scores[part])]) / scale[part]
    gap = (scores - ours[:count]) / scale[:count]
    return f"{float(off.abs().max()):.1e}", f"{float(gap.abs().max()):.1e}"


def print_notes(estimates: dict[str, Estimate], count: int) -> None:
    """Print what the calculated times come from."""
    for name, found in estimates.items():
        first, second = (f"{value * 1e3:,.0f} ms" for value in found.seconds)
        print(
            f"\n\\* {name}: calculated for {count} train examples, by a straight line, from one "
            f"measurement with {found.counts[0]} ({first}) and one with {found.counts[1]} "
            f"({second}), which is {found.each * 1e3:,.0f} ms for each further train example. "
            f"Its errors are of these {found.counts[1]}."
        )


def ask_oracle(
    model: nn.Module, checkpoints: list[Checkpoint], examples: TensorDataset, test: TensorDataset
) -> Tensor:
    """Return some influences in float64, one example at a time."""
    model = copy.deepcopy(model).double()

    def differentiate(part: TensorDataset) -> Tensor:
        rows = []
        for inputs, label in part:
            loss = F.cross_entropy(model(inputs[None].double()), label[None])
            gradients = torch.autograd.grad(loss, [*model.parameters()])
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
        return torch.stack(rows)

    scores = torch.zeros(())
    for checkpoint in checkpoints:
        model.load_state_dict(checkpoint.weights)
        left = differentiate(take(examples, CHECKED_TRAIN))
        right = differentiate(take(test, CHECKED_TEST))
        scores = scores + LEARNING_RATE * left @ right.T
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=[*SETTINGS], choices=[*SETTINGS])
    parser.add_argument("--sizes", nargs="*", type=int, help="test examples")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-peers", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, "
        f"{options.threads} threads, processor time; medians of {options.rounds} interleaved "
        "rounds; * is calculated."
    )
    for name in options.networks:
        measure(name, options)


if __name__ == "__main__":
    main()
