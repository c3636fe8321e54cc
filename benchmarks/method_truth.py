"""Linear datamodeling scores of all methods: do they rank networks trained on random halves?

    python -m benchmarks.method_truth

A small network on scikit-learn's digits, retrained with several seeds, and logistic regression on
the words of film reviews (``imdb_dev.parquet`` in the folder that TRACIN_BENCHMARK_DATA names;
skipped without). Two minutes of a processor. ``--write`` puts the tables into docs/methods.md.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.method_page import print_part
from benchmarks.own_data import DATA_VARIABLE
from tracin_core import AttributionSetup, Checkpoint, TracIn, get_method
from tracin_core.errors import TracInError
from tracin_core.truth import (
    draw_halves,
    fit_logistic,
    rank_correlation,
    retrain_parts,
    score_datamodel,
)

NUM_HALVES, SEEDS = 40, (0, 1, 2)
HIDDEN, DECAY = 8, 1e-3
# Steps of gradient descent after which a checkpoint is kept, and its rate.
KEPT, RATE = (20, 60, 120, 240, 400), 0.5
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "tracincp": ("tracincp", {}),
    "last_checkpoint": ("last_checkpoint", {"layers": "all"}),
    "gradient_cosine": ("gradient_cosine", {"layers": "all"}),
    "influence_functions, all layers": ("influence_functions", {"layers": "all"}),
    "influence_functions, ekfac": ("influence_functions", {"layers": "all", "solver": "ekfac"}),
    "influence_functions, arnoldi": (
        "influence_functions",
        {"layers": "all", "solver": "arnoldi"},
    ),
    "influence_functions, last layer": ("influence_functions", {}),
    "influence_functions, relatif": ("influence_functions", {"layers": "all", "relatif": "theta"}),
    "representer": ("representer", {"explain": "given"}),
    "embedding_similarity": ("embedding_similarity", {}),
    "feature_neighbours": ("feature_neighbours", {}),
    "word_gradients": ("word_gradients", {}),
    "tracin_adam": ("tracin_adam", {}),
}


class Copies:
    """Many networks of one hidden layer, each on a part of the train examples, trained together.

    Args:
        inputs: Shape ``(N, I)``, float64.
        labels: Class indices, shape ``(N,)``.
        masks: Who belongs to each part, shape ``(S, N)``.
        seed: Of the first weights, the same for every part.
    """

    def __init__(self, inputs: Tensor, labels: Tensor, masks: Tensor, seed: int) -> None:
        self._inputs, self._shares = inputs, masks.double() / masks.sum(1, keepdim=True)
        self._labels = labels.expand(len(masks), -1)
        torch.manual_seed(seed)
        model = make_network(inputs.shape[1])
        self.names = [name for name, _ in model.named_parameters()]
        self.weights = [
            value.detach().expand(len(masks), *value.shape).clone().requires_grad_()
            for value in model.parameters()
        ]

    def run(self, inputs: Tensor) -> Tensor:
        """Return logits, shape ``(S, N, K)``."""
        first, shift, second, offset = self.weights
        hidden = torch.tanh(inputs @ first.transpose(1, 2) + shift[:, None])
        return hidden @ second.transpose(1, 2) + offset[:, None]

    def train(self) -> list[dict[str, Tensor]]:
        """Take the steps of gradient descent; return the first copy's weights at each kept one."""
        kept = []
        for step in range(1, KEPT[-1] + 1):
            logits = self.run(self._inputs).transpose(1, 2)
            losses = F.cross_entropy(logits, self._labels, reduction="none")
            total = (losses * self._shares).sum()
            total = total + DECAY * sum(value.square().sum() for value in self.weights)
            gradients = torch.autograd.grad(total, self.weights)
            with torch.no_grad():
                for value, gradient in zip(self.weights, gradients, strict=True):
                    value -= RATE * gradient
            if step in KEPT:
                copies = (value[0].detach().clone() for value in self.weights)
                kept.append(dict(zip(self.names, copies, strict=True)))
        return kept

    @torch.no_grad()
    def measure(self, test: TensorDataset) -> Tensor:
        """Return test losses, shape ``(S, M)``."""
        inputs, labels = test.tensors
        logits = self.run(inputs).transpose(1, 2)
        return F.cross_entropy(logits, labels.expand(len(logits), -1), reduction="none")


def make_network(width: int) -> nn.Sequential:
    """Return the network, with fresh weights."""
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 10)).double()


def attribute(
    tracins: list[TracIn], train: TensorDataset, test: TensorDataset, skipped: list[str]
) -> dict[str, Tensor]:
    """Return each method's influences, the mean over several networks; note what refuses."""
    found = {}
    for title, (name, options) in METHODS.items():
        try:
            parts = []
            for tracin in tracins:
                setup = AttributionSetup(tracin=tracin, options=options)
                method: Any = get_method(name).make(setup)
                if hasattr(method, "fit"):
                    method.fit(train)
                parts.append(method.influence(train, test).double())
        except TracInError as error:
            skipped.append(f"`{title}` refused: {str(error).split(';')[0]}.")
            continue
        found[title] = torch.stack(parts).mean(0)
    return found


def describe_scores(found: dict[str, Tensor], masks: Tensor, losses: Tensor) -> list[str]:
    """Return a table of scores, the best first."""
    scores = {title: score_datamodel(values, masks, losses) for title, values in found.items()}
    lines = ["| method | LDS (95% interval) |", "|---|--:|"]
    for title, score in sorted(scores.items(), key=lambda entry: -entry[1].mean):
        lines.append(f"| `{title}` | {score.mean:.3f} ({score.low:.3f} to {score.high:.3f}) |")
    return lines


def describe_digits() -> list[str]:
    """Return the table of the small network."""
    digits = load_digits()
    order = torch.randperm(len(digits.data), generator=torch.Generator().manual_seed(0))
    inputs, labels = torch.tensor(digits.data / 16)[order], torch.tensor(digits.target)[order]
    train, test = (
        TensorDataset(inputs[:200], labels[:200]),
        TensorDataset(inputs[-40:], labels[-40:]),
    )
    masks = draw_halves(200, NUM_HALVES)
    tracins, losses = [], []
    for seed in SEEDS:
        copies = Copies(*train.tensors, masks, seed)
        copies.train()
        losses.append(copies.measure(test))
        kept = Copies(*train.tensors, torch.ones(1, 200, dtype=torch.bool), seed).train()
        model = make_network(64)
        checkpoints = [Checkpoint(weights, RATE) for weights in kept]
        model.load_state_dict(kept[-1])
        tracins.append(TracIn(model, checkpoints, device="cpu"))
    skipped: list[str] = []
    found = attribute(tracins, train, test, skipped)
    agreed = rank_correlation(losses[0], torch.stack(losses[1:]).mean(0)).nanmean()
    title = (
        f"Digits: 200 train and 40 test examples, a 64-{HIDDEN}-10 network (610 parameters), "
        f"{KEPT[-1]} steps of gradient descent; {NUM_HALVES} random halves, each retrained with "
        f"{len(SEEDS)} seeds, whose mean loss counts. Influences are means over {len(SEEDS)} "
        f"networks. One seed's losses rank the halves as the others' mean with {agreed:.3f}."
    )
    return [title, "", *describe_scores(found, masks, torch.stack(losses).mean(0)), "", *skipped]


def describe_reviews(folder: Path) -> list[str]:
    """Return the table of logistic regression on film reviews."""
    num_train, num_test, words, decay = 400, 40, 100, 1e-3
    reviews = pd.read_parquet(folder / "imdb_dev.parquet", columns=["text", "label"])
    chosen = reviews.sample(num_train + num_test, random_state=0)
    rows = TfidfVectorizer(max_features=words, stop_words="english").fit_transform(chosen["text"])
    inputs = torch.tensor(rows.toarray())
    labels = torch.tensor(chosen["label"].to_numpy()).long()
    train = TensorDataset(inputs[:num_train], labels[:num_train])
    test = TensorDataset(inputs[num_train:], labels[num_train:])
    masks = draw_halves(num_train, NUM_HALVES)

    def retrain(places: Tensor) -> Tensor:
        scaled = decay * num_train / len(places)
        weight = fit_logistic(train.tensors[0][places], train.tensors[1][places], 2, scaled)
        return F.cross_entropy(test.tensors[0] @ weight.t(), test.tensors[1], reduction="none")

    losses = retrain_parts(retrain, masks)
    model = nn.Linear(words, 2, bias=False).double()
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0, weight_decay=2 * decay)
    checkpoints = []
    for step in range(1, KEPT[-1] + 1):
        optimizer.zero_grad()
        F.cross_entropy(model(train.tensors[0]), train.tensors[1]).backward()
        optimizer.step()
        if step in KEPT:
            checkpoints.append(Checkpoint({"weight": model.weight.detach().clone()}, 5.0))
    skipped: list[str] = []
    found = attribute([TracIn(model, checkpoints, device="cpu")], train, test, skipped)
    title = (
        f"Film reviews: {num_train} train and {num_test} test texts by their {words} commonest "
        f"words, logistic regression with decay {decay:g}; {NUM_HALVES} random halves, each "
        "trained to its only minimum, so that there is no seed. All layers are the last one."
    )
    return [title, "", *describe_scores(found, masks, losses), "", *skipped]


def describe() -> str:
    """Return both tables as Markdown."""
    warnings.simplefilter("ignore")
    lines = ["`python -m benchmarks.method_truth`, float64, one thread.", "", *describe_digits()]
    folder = os.environ.get(DATA_VARIABLE)
    if folder is None:
        lines.append(f"Film reviews were skipped: {DATA_VARIABLE} does not name their folder.")
    else:
        lines += ["", *describe_reviews(Path(folder))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print_part("method_truth", describe, __doc__)
