"""Data with planted errors, and the small networks that the mislabel curves are drawn of."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor, nn

from relabel.demos.docs import AREAS, load_docs_demo
from relabel.features.records import flip_labels
from tracin_core import Checkpoint

# Hidden units of every network: one layer of them.
HIDDEN = 64
EPOCHS, BATCH = 15, 32
PHOTOGRAPHS, HOUSES, WORDS = 10_000, 5_000, 1_500


@dataclass(frozen=True)
class Subject:
    """A data set without its planted errors.

    Attributes:
        title: For people.
        inputs: Shape ``(N, I)``.
        targets: Class indices ``(N,)``, or standardised numbers ``(N, 1)``.
        num_classes: 0 for regression.
        rate: The first learning rate, which suits the data.
    """

    title: str
    inputs: Tensor
    targets: Tensor
    num_classes: int
    rate: float

    def plant(self, share: float, seed: int) -> tuple[Tensor, np.ndarray]:
        """Return targets of which a share is wrong, and which, shape ``(N,)``."""
        if self.num_classes:
            true = self.targets.numpy()
            given = flip_labels(true, self.num_classes, noise=share, seed=seed)
            return torch.tensor(given), given != true
        draw = np.random.default_rng(seed)
        count = round(share * len(self.targets))
        chosen = draw.choice(len(self.targets), count, replace=False)
        given = self.targets.clone()
        # Another house's price, which is at least half a standard deviation away.
        for place in chosen:
            away = np.flatnonzero((self.targets - self.targets[place]).abs().numpy()[:, 0] > 0.5)
            given[place] = self.targets[draw.choice(away)]
        wrong = np.zeros(len(given), dtype=bool)
        wrong[chosen] = True
        return given, wrong


def read_digits(_: Path | None) -> Subject:
    """Return scikit-learn's digits."""
    found = load_digits()
    inputs = torch.tensor(found.data / 16).float()
    return Subject("digits", inputs, torch.tensor(found.target), 10, 0.1)


def read_docs(_: Path | None) -> Subject:
    """Return the docs demo's train texts by their commonest words."""
    data = load_docs_demo(seed=0, noise=0.0)
    texts = [str(one.text) for one in data.examples if one.split == "train"]
    rows = TfidfVectorizer(max_features=WORDS, sublinear_tf=True).fit_transform(texts)
    inputs = torch.tensor(rows.toarray()).float()
    return Subject("docs", inputs, torch.tensor(data.true_labels), len(AREAS), 0.5)


def read_fashion(folder: Path | None) -> Subject:
    """Return the first photographs of Fashion-MNIST."""
    assert folder is not None
    with np.load(folder / "fashion_mnist.npz") as found:
        images, labels = found["x_train"][:PHOTOGRAPHS], found["y_train"][:PHOTOGRAPHS]
    inputs = torch.tensor(images).flatten(1).float() / 255
    return Subject("Fashion-MNIST", inputs, torch.tensor(labels).long(), 10, 0.05)


def read_housing(folder: Path | None) -> Subject:
    """Return houses of California, standardised."""
    assert folder is not None
    with gzip.open(folder / "california_housing.csv.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["total_bedrooms"]]
    order = np.random.default_rng(0).permutation(len(rows))[:HOUSES]
    names = [name for name in rows[0] if name not in ("ocean_proximity", "median_house_value")]
    table = np.array([[float(rows[n][name]) for name in names] for n in order])
    table = np.column_stack([table[:, :3], np.log1p(table[:, 3:])])
    prices = np.log(np.array([[float(rows[n]["median_house_value"])] for n in order]))
    inputs, targets = ((part - part.mean(0)) / part.std(0) for part in (table, prices))
    return Subject("California housing", *map(_as_floats, (inputs, targets)), 0, 0.05)


def _as_floats(numbers: np.ndarray) -> Tensor:
    return torch.tensor(numbers).float()


READERS: dict[str, Callable[[Path | None], Subject]] = {
    "digits": read_digits,
    "docs": read_docs,
    "fashion": read_fashion,
    "housing": read_housing,
}
NEED_FOLDER = ("fashion", "housing")


def train(subject: Subject, given: Tensor, seed: int) -> tuple[nn.Sequential, list[Checkpoint]]:
    """Train by plain SGD whose rate falls to a tenth for the last third; keep six checkpoints."""
    torch.manual_seed(seed)
    width = subject.num_classes or 1
    model = nn.Sequential(
        nn.Linear(subject.inputs.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, width)
    )
    loss = F.cross_entropy if subject.num_classes else F.mse_loss
    optimizer = torch.optim.SGD(model.parameters(), lr=subject.rate)
    kept = {1, 3, 5, 8, 11, EPOCHS}
    checkpoints = []
    for epoch in range(1, EPOCHS + 1):
        rate = subject.rate * (0.1 if epoch > EPOCHS * 2 // 3 else 1)
        optimizer.param_groups[0]["lr"] = rate
        for batch in torch.randperm(len(given)).split(BATCH):
            optimizer.zero_grad()
            loss(model(subject.inputs[batch]), given[batch]).backward()
            optimizer.step()
        if epoch in kept:
            state = {name: value.clone() for name, value in model.state_dict().items()}
            checkpoints.append(Checkpoint(state, rate))
    return model, checkpoints
