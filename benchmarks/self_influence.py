"""What TracIn scores cost beside a plain training pass, and how exact they are.

Run: ``python benchmarks/self_influence.py [--examples 2000] [--rounds 7] [--threads 2]``. On a
machine busy with other work, ``--threads 1 --clock cpu`` measures processor time instead.

All contenders go over the same batches of the same three checkpoints, interleaved round by
round so that a busy machine hits them alike; medians are reported. Errors are relative, the
largest over 256 examples, against float64 and one backward pass per example.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tracin_core import Checkpoint, Projection, TracIn

CLASSES, BATCH_SIZE, CHECKED = 10, 256, 256


def build_cnn() -> nn.Module:
    """About 97 thousand parameters, 28 x 28 input."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(576, 126), nn.ReLU(), nn.Linear(126, CLASSES)),
    )


def build_mlp() -> nn.Module:
    """About 109 thousand parameters, 28 x 28 input."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 128), nn.ReLU()),
        *(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, CLASSES)),
    )


def make_examples(count: int) -> TensorDataset:
    """Noisy class prototypes, one label in ten wrong."""
    prototypes = torch.randn(CLASSES, 1, 28, 28)
    labels = torch.randint(CLASSES, (count,))
    images = prototypes[labels] * 0.3 + torch.randn(count, 1, 28, 28)
    wrong = torch.rand(count) < 0.1
    return TensorDataset(images, torch.where(wrong, torch.randint(CLASSES, (count,)), labels))


def train(model: nn.Module, examples: TensorDataset) -> list[Checkpoint]:
    """Train for three epochs and keep a checkpoint after each."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    checkpoints = []
    for _ in range(3):
        for inputs, targets in batches(examples):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        checkpoints.append(Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=0.05))
    return checkpoints


def batches(examples: TensorDataset) -> list[tuple[Tensor, ...]]:
    parts = [tensor.split(BATCH_SIZE) for tensor in examples.tensors]
    return list(zip(*parts, strict=True))


def run_forward(model: nn.Module, checkpoints: list[Checkpoint], examples: TensorDataset) -> None:
    for checkpoint in checkpoints:
        model.load_state_dict(checkpoint.weights)
        with torch.no_grad():
            for inputs, _ in batches(examples):
                model(inputs)


def run_training(model: nn.Module, checkpoints: list[Checkpoint], examples: TensorDataset) -> None:
    for checkpoint in checkpoints:
        model.load_state_dict(checkpoint.weights)
        for inputs, targets in batches(examples):
            model.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()


def time_interleaved(
    runs: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Return the median seconds of each run; the first round warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if number:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def oracle(
    model: nn.Module, checkpoints: list[Checkpoint], examples: TensorDataset
) -> dict[str, Tensor]:
    """Self-influence over all layers and the last one, in float64, one example at a time."""
    model = copy.deepcopy(model).double()
    scores = {"all layers": torch.zeros(CHECKED), "last layer": torch.zeros(CHECKED)}
    scores = {name: value.double() for name, value in scores.items()}
    for checkpoint in checkpoints:
        model.load_state_dict(checkpoint.weights)
        for index in range(CHECKED):
            image, label = examples[index]
            loss = F.cross_entropy(model(image[None].double()), label[None])
            squares = [g.square().sum() for g in torch.autograd.grad(loss, [*model.parameters()])]
            scores["all layers"][index] += 0.05 * sum(squares)
            scores["last layer"][index] += 0.05 * sum(squares[-2:])
    return scores


def measure(
    name: str,
    model: nn.Module,
    examples: TensorDataset,
    rounds: int,
    clock: Callable[[], float],
) -> None:
    """Time one model and print its rows."""
    checkpoints = train(model, examples)
    every = TracIn(model, checkpoints, device="cpu", batch_size=BATCH_SIZE)
    last = TracIn(model, checkpoints, layers="last", device="cpu", batch_size=BATCH_SIZE)
    truth = oracle(model, checkpoints, examples)
    part = TensorDataset(*(tensor[:CHECKED] for tensor in examples.tensors))
    found = {"all layers": every.self_influence(part), "last layer": last.self_influence(part)}
    errors = {
        key: float(((found[key].double() - truth[key]) / truth[key]).abs().max()) for key in truth
    }
    projection = Projection(dim=512)
    replica = copy.deepcopy(model)
    seconds = time_interleaved(
        {
            "forward": lambda: run_forward(replica, checkpoints, examples),
            "forward + backward": lambda: run_training(replica, checkpoints, examples),
            "all layers": lambda: every.self_influence(examples),
            "last layer": lambda: last.self_influence(examples),
            "vectors of 512": lambda: every.vectors(examples, projection),
            "everything": lambda: every.capture(
                examples, projection=projection, last_layer_vectors=True
            ),
        },
        rounds,
        clock,
    )
    parameters = sum(value.numel() for value in model.parameters())
    for run, value in seconds.items():
        print(
            f"{name} ({parameters:,})".ljust(16),
            run.ljust(20),
            f"{value * 1e3:8.0f} ms",
            f"{value / seconds['forward']:8.2f}",
            f"{value / seconds['forward + backward']:8.2f}",
            f"{errors[run]:10.1e}" if run in errors else "",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    options = parser.parse_args()
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    examples = make_examples(options.examples)
    print(
        f"torch {torch.__version__}, {platform.machine()}, {options.threads} threads, {options.clock} time, "
        f"N = {options.examples}, three checkpoints, median of {options.rounds} rounds"
    )
    print("model".ljust(16), "run".ljust(20), "       time  / forward  / f + b    error")
    measure("CNN", build_cnn(), examples, options.rounds, clock)
    measure("MLP", build_mlp(), examples, options.rounds, clock)


if __name__ == "__main__":
    main()
