"""What the influence of every train example on every test example costs, ours and the peers'.

    python -m benchmarks.influence [--networks CNN resnet18] [--sizes 4 64 1000] [--rounds 3]
                                   [--threads 1] [--skip-peers]

Prints markdown, with processor time. Contenders go over the same examples at the same
checkpoints; ours take turns, medians of some rounds, and peers run once, because they take many
times as long. Errors are the largest ones, relative to the product of the two gradients' norms:
against float64 and one backward pass per example for some pairs, and between a contender and
ours for all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import io
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.networks import LARGE, LEARNING_RATE, SMALL, Subject, make_examples, train
from benchmarks.peers import CAPTUM_MODES, DATTRI, make_task, open_captum
from benchmarks.self_influence import time_interleaved
from tracin_core import Checkpoint, TracIn

SELF, VECTORS = "self-influence of the train examples", "exact vectors of both"
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
        runs_dattri: Whether dattri runs too: of a resnet18 it took over two minutes for four test
            examples.
    """

    subject: Subject
    num_train: int
    num_checkpoints: int
    runs_dattri: bool = True


SETTINGS = {
    "CNN": Setting(SMALL["CNN"], 256, 3),
    "resnet18": Setting(LARGE["resnet18"], 32, 1, runs_dattri=False),
}

Run = Callable[[], Tensor]


def measure(name: str, sizes: list[int], options: argparse.Namespace) -> None:
    """Print a network's tables."""
    torch.manual_seed(0)
    setting = SETTINGS[name]
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
    runs: dict[str, Run] = {
        SELF: lambda: tracin.self_influence(examples),
        OURS: lambda: tracin.influence(examples, test),
        LOADER: lambda: tracin.influence(examples, loader),
    }
    numbers = len(checkpoints) * sum(value.numel() for value in model.parameters())
    holds = 4 * numbers * (len(examples) + len(test)) <= MOST_BYTES
    if holds:
        runs[VECTORS] = lambda: torch.cat([tracin.vectors(part) for part in (examples, test)])
    seconds = time_interleaved(runs, options.rounds, time.process_time)
    found = {OURS: runs[OURS](), LOADER: runs[LOADER]()}
    if not options.skip_peers:
        replica = copy.deepcopy(model)
        for peer, run in find_peers(replica, checkpoints, examples, test, setting, holds).items():
            with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                start = time.process_time()
                found[peer] = run()
                seconds[peer] = time.process_time() - start
    norms = [tracin.self_influence(part).double().sqrt() for part in (examples, test)]
    scale = norms[0].outer(norms[1])
    part = (slice(CHECKED_TRAIN), slice(CHECKED_TEST))
    truth = ask_oracle(model, checkpoints, examples, test)
    print(f"\n{len(test):,} test examples:\n")
    print("| | time | / self-influence | error | differs from ours |\n|---|--:|--:|--:|--:|")
    for run, value in seconds.items():
        errors = [" ", " "]
        if run in found:
            scores = found[run].double()
            gaps = ((scores[part] - truth) / scale[part], (scores - found[OURS]) / scale)
            errors = [f"{float(gap.abs().max()):.1e}" for gap in gaps]
        share = value / seconds[SELF]
        print(f"| {run} | {value * 1e3:,.0f} ms | {share:.2f} | {errors[0]} | {errors[1]} |")
    if not holds:
        held = 4 * numbers * len(test) / 1e9
        print(
            f"\nGradients of the test examples would take {held:.0f} GB whole, as peers hold them."
        )


def find_peers(
    model: nn.Module,
    checkpoints: list[Checkpoint],
    examples: TensorDataset,
    test: TensorDataset,
    setting: Setting,
    holds: bool,
) -> dict[str, Run]:
    """Return the peers that are installed and have room, each as it is fastest."""
    peers: dict[str, Run] = {}
    if not holds:
        return peers
    sizes = (setting.subject.captum_batch, setting.subject.batch_size)
    if importlib.util.find_spec("captum") is not None:
        for mode, batch_size, wise in zip(CAPTUM_MODES, sizes, (False, True), strict=True):
            peers[mode] = make_captum(model, checkpoints, examples, test, batch_size, wise=wise)
    if setting.runs_dattri and importlib.util.find_spec("dattri") is not None:
        peers[DATTRI] = make_dattri(model, checkpoints, examples, test)
    return peers


def make_captum(
    model: nn.Module,
    checkpoints: list[Checkpoint],
    examples: TensorDataset,
    test: TensorDataset,
    batch_size: int,
    *,
    wise: bool,
) -> Run:
    """Return influence by captum's TracInCP in one of its two modes."""
    tracin = open_captum(model, checkpoints, examples, batch_size, wise=wise)

    def run() -> Tensor:
        scores: Tensor = tracin.influence(DataLoader(test, batch_size=batch_size))
        return scores.T

    return run


def make_dattri(
    model: nn.Module, checkpoints: list[Checkpoint], examples: TensorDataset, test: TensorDataset
) -> Run:
    """Return dattri's TracIn with exact gradients, which takes the test set anew for each batch."""
    from dattri.algorithm.tracin import TracInAttributor

    rates = torch.full((len(checkpoints),), LEARNING_RATE)

    def run() -> Tensor:
        attributor = TracInAttributor(
            make_task(model, checkpoints), rates, normalized_grad=False, device="cpu"
        )
        # Its constructor takes None for "project to 512".
        attributor.projector_kwargs = None
        loaders = [DataLoader(examples, len(examples)), DataLoader(test, min(64, len(test)))]
        scores: Tensor = attributor.attribute(*loaders)
        return scores

    return run


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
        left = differentiate(cut(examples, 0, CHECKED_TRAIN))
        right = differentiate(cut(test, 0, CHECKED_TEST))
        scores = scores + LEARNING_RATE * left @ right.T
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=[*SETTINGS], choices=[*SETTINGS])
    parser.add_argument("--sizes", nargs="*", type=int, default=[4, 64, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-peers", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, "
        f"{options.threads} threads, processor time; medians of {options.rounds} interleaved "
        "rounds, peers once."
    )
    for name in options.networks:
        measure(name, options.sizes, options)


if __name__ == "__main__":
    main()
