"""EK-FAC against exact solutions on networks of the size that it is meant for.

    python -m benchmarks.method_ekfac

Two networks, of 22,230 and (with ``fashion_mnist.npz`` in the folder that TRACIN_BENCHMARK_DATA
names) 63,610 parameters; exact are conjugate gradients to a residual of 1e-6. Some minutes of a
processor. ``--write`` puts the table into docs/methods.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.method_page import print_part
from benchmarks.own_data import DATA_VARIABLE
from tracin_core import AttributionSetup, Checkpoint, TracIn, get_method
from tracin_core.truth import rank_correlation

NUM_TRAIN, NUM_TEST, NUM_SCORED = 1000, 20, 40
LAST = (("last", 0.1), ("last", 0.01), ("last", 0.001))
ALL = (("all", 0.1), ("all", 0.01))
SOLVERS: dict[str, dict[str, Any]] = {
    "ekfac, 1 label": {"solver": "ekfac"},
    "ekfac, all classes": {"solver": "ekfac", "samples": 0},
    "arnoldi, rank 50": {"solver": "arnoldi"},
}


def read_digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's digits, shuffled."""
    digits = load_digits()
    order = torch.randperm(len(digits.data), generator=torch.Generator().manual_seed(0))
    return torch.tensor(digits.data / 16).float()[order], torch.tensor(digits.target)[order]


def read_fashion(folder: Path) -> tuple[Tensor, Tensor]:
    """Return the first photographs of Fashion-MNIST, flat."""
    with np.load(folder / "fashion_mnist.npz") as found:
        images, labels = found["x_train"][:3000], found["y_train"][:3000]
    return torch.tensor(images).flatten(1).float() / 255, torch.tensor(labels).long()


def train_network(model: nn.Sequential, inputs: Tensor, labels: Tensor) -> nn.Sequential:
    """Train with momentum and weight decay, 40 passes."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    for _ in range(40):
        for batch in torch.randperm(len(inputs)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    return model


def correlate(left: Tensor, right: Tensor) -> Tensor:
    """Return the correlation of each pair of columns, shape ``(M,)``."""
    left, right = left - left.mean(0), right - right.mean(0)
    found: Tensor = (left * right).sum(0) / (left.norm(dim=0) * right.norm(dim=0))
    return found


def measure(tracin: TracIn, train: Any, test: Any, options: dict[str, Any]) -> tuple[Tensor, ...]:
    """Return influences, and self-scores of the first examples as one column."""
    setup = AttributionSetup(tracin=tracin, options=options)
    method: Any = get_method("influence_functions").make(setup)
    method.fit(train)
    part = TensorDataset(*(tensor[:NUM_SCORED] for tensor in train.tensors))
    scores = method.scores(part)["influence_on_itself"]
    return method.influence(train, test), scores[:, None]


def describe_network(
    title: str,
    model: nn.Sequential,
    inputs: Tensor,
    labels: Tensor,
    cases: Sequence[tuple[str, float]],
) -> list[str]:
    """Return one network's lines of the table, for layers and dampings."""
    train = TensorDataset(inputs[:NUM_TRAIN], labels[:NUM_TRAIN])
    test = TensorDataset(inputs[-NUM_TEST:], labels[-NUM_TEST:])
    train_network(model, *train.tensors)
    tracin = TracIn(model, Checkpoint(model.state_dict(), 0.1), device="cpu", batch_size=100)
    lines = []
    for layers, damping in cases:
        chosen = {"layers": layers, "damping": damping}
        exact, exact_scores = measure(
            tracin, train, test, {"solver": "cg", "iterations": 400, **chosen}
        )
        found = {
            name: measure(tracin, train, test, chosen | options)
            for name, options in SOLVERS.items()
        }
        single = tracin.at_checkpoint(layers=layers)
        left, right = single.vectors(train).double(), single.vectors(test).double()
        squares = left[:NUM_SCORED].square().sum(1, keepdim=True)
        found["no curvature"] = left @ right.t(), squares
        for name, (influence, scores) in found.items():
            each = correlate(influence, exact)
            ranks = float(rank_correlation(influence, exact).mean())
            own = float(rank_correlation(scores, exact_scores))
            lines.append(
                f"| {title} | {layers} | {damping:g} | {name} | {float(each.mean()):.2f} | "
                f"{float(each.min()):.2f} | {ranks:.2f} | {own:.3f} |"
            )
    return lines


def describe() -> str:
    """Return the table as Markdown."""
    text = [
        f"`python -m benchmarks.method_ekfac`: {NUM_TRAIN:,} train and {NUM_TEST} test examples. "
        "Correlations over the train examples with influences by conjugate gradients (residual "
        f"1e-6), mean and least of the test examples; and of {NUM_SCORED} self-scores.",
        "",
        "| network | layers | damping | solver | mean | least | by rank | self-scores by rank |",
        "|---|---|--:|---|--:|--:|--:|--:|",
    ]
    torch.manual_seed(0)
    small = nn.Sequential(
        *(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 100), nn.Tanh(), nn.Linear(100, 10))
    )
    text += describe_network("digits, 22,230", small, *read_digits(), (*LAST, *ALL))
    folder = os.environ.get(DATA_VARIABLE)
    if folder is None:
        text.append(f"\nFashion-MNIST was skipped: {DATA_VARIABLE} does not name its folder.")
        return "\n".join(text) + "\n"
    torch.manual_seed(0)
    large = nn.Sequential(nn.Linear(784, 80), nn.ReLU(), nn.Linear(80, 10))
    text += describe_network("Fashion-MNIST, 63,610", large, *read_fashion(Path(folder)), LAST)
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    print_part("method_ekfac", describe, __doc__)
