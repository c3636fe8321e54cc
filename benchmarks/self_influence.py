"""What TracIn scores cost beside a plain training pass, how exact they are, and the peers.

    python -m benchmarks.self_influence [--rounds 5] [--threads 1 2] [--clock wall] [--skip-peers]
                                        [--device cpu] [--times 1] [--networks NAME ...]

Prints markdown, the figures of one and of two threads beside each other. On a machine busy with
other work, ``--threads 1 --clock cpu`` measures processor time instead. On a GPU, ``--device
cuda``, ours reads its examples from the processor's memory, as users have them; plain loops and
peers find theirs on the GPU already.

All contenders go over the same examples at the same three checkpoints, interleaved round by
round so that a busy machine hits them alike; medians are reported. Errors are relative, the
largest over the checked examples, against float64 and one backward pass per example.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.floors import FORWARD, TRAINING, make_floors
from benchmarks.kinks import find_kinked
from benchmarks.machine import describe_machine
from benchmarks.networks import (
    HUGE,
    LARGE,
    LEARNING_RATE,
    SMALL,
    Subject,
    cut,
    make_examples,
    move,
    train,
)
from benchmarks.peers import CAPTUM_MODES, Run, find_peers
from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.capture.batch_size import BatchSizes, choose_budget

# Largest relative error that scores in single precision are to have.
PROMISED = 1e-5
# What a measurement lasts at least.
LEAST_SECONDS = 0.3
# What takes less is called once before it is measured.
SHORT_SECONDS = 4.0
ALL, LAST, HALF = "**all layers**", "**last layer**", "all layers, bfloat16"
PROJECTION = Projection(dim=512)


def time_interleaved(
    runs: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Return the median seconds of each run; the first round warms up and is not counted.

    A short run is repeated in each round, after a call that is not counted: what ran before it
    and left it memory and caches, minutes of a peer for instance, decides up to a fifth of one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    repeats = dict.fromkeys(runs, 1)
    short: set[str] = set()
    for number in range(rounds + 1):
        for name, run in runs.items():
            # The peers draw progress bars and warn; neither belongs in a table.
            with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if name in short:
                    run()
                start = clock()
                for _ in range(repeats[name]):
                    run()
                took = (clock() - start) / repeats[name]
            if number:
                seconds[name].append(took)
            else:
                repeats[name] = max(1, math.ceil(LEAST_SECONDS / max(took, 1e-6)))
                if took < SHORT_SECONDS:
                    short.add(name)
    return {name: statistics.median(values) for name, values in seconds.items()}


def ask_oracle(
    model: nn.Module, checkpoints: list[Checkpoint], examples: TensorDataset
) -> tuple[Tensor, Tensor]:
    """Return self-influence over all layers and the last, in float64, one example at a time."""
    model = copy.deepcopy(model).double()
    device = next(model.parameters()).device
    every, last = (torch.zeros(len(examples), dtype=torch.float64) for _ in range(2))
    for checkpoint in checkpoints:
        model.load_state_dict(checkpoint.weights)
        for index in range(len(examples)):
            inputs, label = (tensor.to(device) for tensor in examples[index])
            inputs = inputs.double() if inputs.is_floating_point() else inputs
            loss = F.cross_entropy(model(inputs[None]), label[None])
            gradients = torch.autograd.grad(loss, [*model.parameters()])
            squares = [float(gradient.square().sum()) for gradient in gradients]
            every[index] += LEARNING_RATE * sum(squares)
            last[index] += LEARNING_RATE * sum(squares[-2:])
    return every, last


def find_error(found: Tensor, truth: Tensor) -> float:
    return float(((found.double() - truth) / truth).abs().max())


def measure(name: str, subject: Subject, options: argparse.Namespace) -> None:
    """Print one network's table."""
    torch.manual_seed(0)
    device = torch.device(options.device)
    model, examples = subject.build().to(device), make_examples(subject)
    size = subject.batch_size
    placed = move(examples, device)
    checkpoints = train(model, placed, size)
    every = TracIn(model, checkpoints, device=device, batch_size=size)
    last = TracIn(model, checkpoints, layers="last", device=device, batch_size=size)
    all_runs: dict[str, Run] = {ALL: every.self_influence}
    if device.type == "cuda":
        half = TracIn(model, checkpoints, device=device, batch_size=size, precision="bfloat16")
        all_runs[HALF] = half.self_influence
    last_runs: dict[str, Run] = {LAST: last.self_influence}
    missing: list[str] = []
    replica = copy.deepcopy(model)
    peers: dict[str, Run] = {}
    if name in SMALL and not options.skip_peers:
        every_peer, last_peer, missing = find_peers(
            replica, checkpoints, size, subject.captum_batch
        )
        peers = every_peer | last_peer
        all_runs |= every_peer
        last_runs |= last_peer
    part = TensorDataset(*(tensor[: subject.checked] for tensor in examples.tensors))
    truths = ask_oracle(model, checkpoints, part)
    kinked = find_kinked(model, checkpoints, move(part, device).tensors[0])
    errors: dict[str, float] = {}
    smooth = math.nan
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for runs, truth in zip((all_runs, last_runs), truths, strict=True):
            for key, run in runs.items():
                found = run(move(part, device) if key in peers else part)
                errors[key] = find_error(found.cpu(), truth)
                if key == ALL and not kinked.all():
                    smooth = find_error(found.cpu()[~kinked], truth[~kinked])
    contenders: dict[str, Callable[[], object]] = {
        **make_floors(replica, checkpoints, cut(placed, size), cut(placed, find_pass(every, size))),
        **{
            key: lambda run=run, own=placed if key in peers else examples: run(own)
            for key, run in (all_runs | last_runs).items()
        },
        "vectors of 512": lambda: every.vectors(examples, PROJECTION),
        "everything, in one capture": lambda: every.capture(
            examples, projection=PROJECTION, last_layer_vectors=True
        ),
    }
    seconds = {}
    for threads in options.threads:
        torch.set_num_threads(threads)
        seconds[threads] = time_interleaved(contenders, options.rounds, choose_clock(options))
    print_table(name, model, subject, every, seconds, errors)
    if errors[ALL] > PROMISED and kinked.any():
        print(
            f"\nOf {len(part)} checked examples {int(kinked.sum())} had an activation on the other "
            "side of a ReLU in float32. Without them the largest error of all layers is "
            f"{smooth:.1e}."
        )
    for peer in missing:
        print(f"\n{peer} is not installed, so it was not measured.")


def find_pass(tracin: TracIn, batch_size: int) -> int:
    """Return how many examples go through a pass together."""
    plan = next(iter(tracin._plans.values()))
    budget = choose_budget(tracin.device)
    return BatchSizes(tracin.model, plan, batch_size, 0, budget).full_pass


def choose_clock(options: argparse.Namespace) -> Callable[[], float]:
    """Return what tells the time; on a GPU when all that was asked of it is done."""
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    if options.device == "cpu":
        return clock

    def wait_and_look() -> float:
        torch.cuda.synchronize()
        return clock()

    return wait_and_look


def print_table(
    name: str,
    model: nn.Module,
    subject: Subject,
    tracin: TracIn,
    seconds: dict[int, dict[str, float]],
    errors: dict[str, float],
) -> None:
    """Print what each run took, by number of threads, and how exact it was."""
    coverage = tracin.coverage
    total = sum(value.numel() for value in model.parameters())
    covered = sum(coverage[name].size for name in coverage.covered)
    ruled = sum(entry.size for entry in coverage if entry.method == "rule")
    print(
        f"\n**{name}**, {total:,} parameters: {covered / total:.0%} covered, "
        f"{ruled / total:.0%} by rules; {subject.examples:,} examples, "
        f"batches of {subject.batch_size}\n"
    )
    print("\n".join(list_rows(seconds, errors)))
    for count, taken in seconds.items():
        captum = [value for run, value in taken.items() if run in CAPTUM_MODES]
        share = f"{taken[TRAINING] / taken[ALL]:.0%} of the time of all layers"
        line = f"With {name_threads(count)}, plain forward + backward alone would take {share}"
        if captum:
            times = f"{min(captum) / taken[ALL]:.1f} times"
            line += f", which are {times} as fast as captum's best mode"
        print(f"\n{line}.")


def list_rows(seconds: dict[int, dict[str, float]], errors: dict[str, float]) -> list[str]:
    """Return a table's lines, one for each run, with the times of all thread counts side by side.

    Args:
        seconds: Of each run, by number of threads.
        errors: Largest relative error of the runs that have one.
    """
    columns = " | / forward | / forward + backward | "
    lines = [
        f"| | {''.join(name_threads(count) + columns for count in seconds)}largest error |",
        "|---|" + "--:|" * (3 * len(seconds) + 1),
    ]
    for run in next(iter(seconds.values())):
        cells = []
        for taken in seconds.values():
            value = taken[run]
            forward, training = value / taken[FORWARD], value / taken[TRAINING]
            cells.append(f"{value * 1e3:,.0f} ms | {forward:.2f} | {training:.2f}")
        error = f"{errors[run]:.1e}" if run in errors else ""
        lines.append(f"| {run} | {' | '.join(cells)} | {error} |")
    return lines


def name_threads(count: int) -> str:
    """Return "1 thread" or "2 threads"."""
    return f"{count} thread{'s' * (count != 1)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--networks", nargs="*", default=[*SMALL, *LARGE])
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--times", type=int, default=1, help="so many times the examples")
    options = parser.parse_args()
    torch.set_num_threads(options.threads[-1])
    where = f"{os.cpu_count()} cores, {' and '.join(map(name_threads, options.threads))}"
    if options.device == "cuda":
        where += f", {torch.cuda.get_device_name()}"
    print(
        f"{describe_machine()}, {where}, "
        f"{'wall' if options.clock == 'wall' else 'processor'} time; "
        f"three checkpoints, medians of {options.rounds} interleaved rounds."
    )
    for name in options.networks:
        subject = (SMALL | LARGE | HUGE)[name]
        measure(name, replace(subject, examples=subject.examples * options.times), options)


if __name__ == "__main__":
    main()
