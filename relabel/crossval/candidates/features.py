"""Models over features: a linear head, and the nearest neighbours. Rows have length one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.crossval.candidates.words import place_classes
from relabel.crossval.registry import Candidate, Fold, Size, register_candidate

# Stochastic gradient descent over rows of length one, whose gradients are small: chosen by
# agreement with the given labels on photographs. Few examples are learned by heart in more steps.
RATE, MOMENTUM, BATCH = 2.0, 0.9, 128
EPOCHS, LEAST_STEPS = 8, 50
# Neighbours that are asked, and how much nearer ones count more: exp(cosine / TEMPERATURE).
NEIGHBOURS, TEMPERATURE = 50, 0.1
# Beyond so many examples the neighbours are looked for among a sample of them.
MOST_COMPARED = 50_000
CHUNK = 1_024
LEAST = 1e-3


def fit_head(fold: Fold) -> npt.NDArray[np.floating]:
    """Fit a linear softmax head (for regression a linear one) to features, and ask it."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(fold.seed)
    outputs = max(fold.num_classes, 1)
    targets = torch.from_numpy(np.ascontiguousarray(fold.targets[fold.learned]))
    targets = targets.to(torch.float32 if fold.is_regression else torch.int64)
    rows = torch.from_numpy(np.ascontiguousarray(fold.rows[fold.learned], dtype=np.float32))
    asked = torch.from_numpy(np.ascontiguousarray(fold.rows[fold.asked], dtype=np.float32))
    head = nn.Linear(rows.shape[1], outputs)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(head.parameters(), lr=RATE, momentum=MOMENTUM)
    batches = math.ceil(len(rows) / BATCH)
    steps = max(EPOCHS, math.ceil(LEAST_STEPS / batches)) * batches
    done = 0
    while done < steps:
        for chosen in torch.randperm(len(rows), generator=generator).split(BATCH):  # type: ignore[no-untyped-call]
            for group in optimizer.param_groups:
                group["lr"] = RATE * 0.5 * (1.0 + math.cos(math.pi * done / steps))
            found = head(rows[chosen])
            if fold.is_regression:
                # A wrong target of a hundred deviations must not pull a hundred times as hard.
                loss = nn.functional.huber_loss(found[:, 0], targets[chosen], delta=2.0)
            else:
                loss = nn.functional.cross_entropy(found, targets[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            done += 1
    with torch.no_grad():
        found = head(asked).double()
    if fold.is_regression:
        values: npt.NDArray[np.floating] = found[:, 0].numpy()
        return values
    classes = np.unique(fold.targets[fold.learned])
    return place_classes(found[:, classes].softmax(dim=1).numpy(), classes, fold)


def ask_neighbours(fold: Fold) -> npt.NDArray[np.floating]:
    """Ask of every example its nearest neighbours by cosine, never itself."""
    compared = fold.learned
    if len(compared) > MOST_COMPARED:
        generator = np.random.default_rng(fold.seed)
        compared = np.sort(generator.choice(compared, MOST_COMPARED, replace=False))
    known = np.ascontiguousarray(fold.rows[compared], dtype=np.float32)
    targets = fold.targets[compared]
    count = min(NEIGHBOURS, len(known) - 1)
    told = []
    for start in range(0, len(fold.asked), CHUNK):
        asked = fold.asked[start : start + CHUNK]
        cosines = np.ascontiguousarray(fold.rows[asked], dtype=np.float32) @ known.T
        places = np.minimum(np.searchsorted(compared, asked), len(compared) - 1)
        itself = np.flatnonzero(compared[places] == asked)
        cosines[itself, places[itself]] = -np.inf
        told.append(_vote(cosines, targets, count, fold))
    everything = np.concatenate(told)
    if fold.is_regression:
        return everything
    # Every class that any example has was asked; what the neighbours lack is little, not unknown.
    return place_classes(everything, np.arange(fold.num_classes), fold)


def ask_centroids(fold: Fold) -> npt.NDArray[np.floating]:
    """Ask which class's mean is the nearest by cosine: little to learn, so little goes wrong.

    With a few dozen examples of each class it found more wrong labels than any other head.
    """
    rows = np.ascontiguousarray(fold.rows[fold.learned], dtype=np.float32)
    asked = np.ascontiguousarray(fold.rows[fold.asked], dtype=np.float32)
    targets = fold.targets[fold.learned]
    classes = np.unique(targets)
    means = np.stack([rows[targets == label].mean(axis=0) for label in classes])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    close = asked @ means.T
    likely = np.exp((close - close.max(axis=1, keepdims=True)) / TEMPERATURE)
    return place_classes(likely / likely.sum(axis=1, keepdims=True), classes, fold)


def _vote(
    cosines: npt.NDArray[np.float32], targets: npt.NDArray[Any], count: int, fold: Fold
) -> npt.NDArray[np.floating]:
    nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
    close = np.take_along_axis(cosines, nearest, axis=1)
    weights = np.exp((close - close.max(axis=1, keepdims=True)) / TEMPERATURE)
    labels = targets[nearest]
    if fold.is_regression:
        mean: npt.NDArray[np.floating] = (weights * labels).sum(axis=1) / weights.sum(axis=1)
        return mean
    votes = np.zeros((len(cosines), fold.num_classes))
    np.add.at(votes, (np.repeat(np.arange(len(cosines)), count), labels.ravel()), weights.ravel())
    shares: npt.NDArray[np.floating] = votes / votes.sum(axis=1, keepdims=True) + LEAST
    return shares


def _estimate_head(size: Size) -> float:
    passes = max(EPOCHS, LEAST_STEPS * BATCH / max(size.examples, 1))
    work = size.examples * passes * size.width * size.classes
    return 0.2 + 6 * work / 10e9 + 0.3e-3 * size.examples * passes / BATCH


def _estimate_centroids(size: Size) -> float:
    return 0.01 + 2e-9 * size.examples * size.width * (1 + size.classes / 10)


def _estimate_neighbours(size: Size) -> float:
    compared = min(size.examples, MOST_COMPARED)
    return 0.1 + 2 * size.examples * compared * size.width / 30e9 + 8e-9 * size.examples * compared


register_candidate(
    Candidate(
        name="features_linear",
        title="Linear over features",
        kinds=("image", "text"),
        reads="features",
        fit_predict=fit_head,
        estimate=_estimate_head,
        network="linear_head",
    )
)
register_candidate(
    Candidate(
        name="features_centroids",
        title="Nearest class mean by features",
        kinds=("image", "text"),
        tasks=("classification",),
        reads="features",
        fit_predict=ask_centroids,
        estimate=_estimate_centroids,
    )
)
register_candidate(
    Candidate(
        name="features_neighbours",
        title="Nearest neighbours by features",
        kinds=("image", "text"),
        reads="features",
        fit_predict=ask_neighbours,
        estimate=_estimate_neighbours,
        is_leave_one_out=True,
    )
)
