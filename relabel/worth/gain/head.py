"""A linear model trained on several sets of labels at once, over rows that all of them share.

Every set has its own weights, which begin alike and see the same examples in the same order. An
example that a set leaves out has no gradient in it, and keeps its place in the batch, so that two
sets differ by their labels and by nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.crossval.registry import Matrix
from relabel.worth.gain.labels import Labels

# As the linear models over features are cross-validated: rows have length one or so.
RATE, MOMENTUM, BATCH = 2.0, 0.9, 128
EPOCHS, LEAST_STEPS = 8, 50
# Standard deviation of the initial weights' products with a row of length one.
SPREAD = 0.01
# Residual, in deviations, from which on an example pulls no harder (Huber 1964).
BOUND = 2.0
# Rows of a table have no length in common; their steps are divided by the mean squared length.
ROWS_AT_ONCE = 8_192

OnStep = Callable[[int, int], None]


def _ignore(done: int, total: int) -> None:
    pass


def train_heads(
    rows: Matrix,
    arms: Sequence[Labels],
    asked: npt.NDArray[np.intp],
    *,
    num_classes: int,
    seed: int,
    scale: tuple[float, float] = (0.0, 1.0),
    on_step: OnStep = _ignore,
) -> npt.NDArray[Any]:
    """Train a linear softmax model (for regression a linear one) on every set of labels.

    Stochastic gradient descent with momentum and a rate that falls as a cosine. The gradients are
    the sum over the batch divided by the batch's size, examples that are left out included.

    Args:
        rows: All examples; those to learn come first, N of them.
        arms: A sets of labels of the first N rows.
        asked: Positions of the rows to predict, shape ``(M,)``.
        num_classes: K; 0 for regression.
        seed: Chooses the initial weights and the order of the examples.
        scale: For regression, mean and deviation that targets are standardised with.
        on_step: Told how many of how many batches are done; what it raises ends the training.

    Returns:
        Predicted classes, or numbers in their own unit, shape ``(A, M)``.
    """
    count, is_regression = len(arms[0].targets), num_classes == 0
    generator = np.random.default_rng(seed)
    width, outputs = rows.shape[1], max(num_classes, 1)
    start = (generator.standard_normal((width, outputs)) * SPREAD).astype(np.float32)
    weights = [start.copy() for _ in arms]
    biases = [np.zeros(outputs, dtype=np.float32) for _ in arms]
    speeds = [(np.zeros_like(w), np.zeros_like(b)) for w, b in zip(weights, biases, strict=True)]
    answers = [_encode(arm, outputs, is_regression, scale) for arm in arms]
    kept = [arm.kept.astype(np.float32)[:, None] for arm in arms]
    batches = math.ceil(count / BATCH)
    steps = max(EPOCHS, math.ceil(LEAST_STEPS / batches)) * batches
    largest = RATE / _measure_length(rows, count)
    done = 0
    while done < steps:
        for chosen in _split(generator.permutation(count)):
            batch = rows[chosen]
            rate = np.float32(largest * 0.5 * (1.0 + math.cos(math.pi * done / steps)))
            for arm in range(len(arms)):
                said = batch @ weights[arm] + biases[arm]
                pull = _pull(said, answers[arm][chosen], is_regression)
                pull *= kept[arm][chosen] / len(chosen)
                _step(
                    (weights[arm], biases[arm]),
                    speeds[arm],
                    (batch.T @ pull, pull.sum(axis=0)),
                    rate,
                )
            done += 1
            on_step(done, steps)
    return _predict(rows, asked, list(zip(weights, biases, strict=True)), is_regression, scale)


def _split(order: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    return [order[first : first + BATCH] for first in range(0, len(order), BATCH)]


def _encode(
    arm: Labels, outputs: int, is_regression: bool, scale: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """Return what is to be said of every example: one class, or a standardised number."""
    if is_regression:
        mean, deviation = scale
        standardised: npt.NDArray[np.float32] = ((arm.targets - mean) / deviation).astype(
            np.float32
        )[:, None]
        return standardised
    encoded = np.zeros((len(arm.targets), outputs), dtype=np.float32)
    encoded[np.arange(len(arm.targets)), arm.targets] = 1.0
    return encoded


def _measure_length(rows: Matrix, count: int) -> float:
    """Return the mean squared length of the first rows, which bounds a steady step's size."""
    sample = rows[np.arange(min(count, ROWS_AT_ONCE))]
    squares = sample.multiply(sample) if hasattr(sample, "multiply") else np.square(sample)
    return max(float(np.asarray(squares.sum()) / max(sample.shape[0], 1)), 1e-6)


def _pull(
    said: npt.NDArray[np.float32], answers: npt.NDArray[np.float32], is_regression: bool
) -> npt.NDArray[np.float32]:
    """Return the gradient of each example's loss by what is said of it, ``(B, K)``."""
    if is_regression:
        residuals: npt.NDArray[np.float32] = np.clip(said - answers, -BOUND, BOUND)
        return residuals
    likely = np.exp(said - said.max(axis=1, keepdims=True))
    pull: npt.NDArray[np.float32] = likely / likely.sum(axis=1, keepdims=True) - answers
    return pull


def _step(weights: Any, speeds: Any, gradients: Any, rate: np.float32) -> None:
    """Move weights in place: SGD with momentum, as torch has it."""
    for weight, speed, gradient in zip(weights, speeds, gradients, strict=True):
        speed *= np.float32(MOMENTUM)
        speed += gradient
        weight -= rate * speed


def _predict(
    rows: Matrix,
    asked: npt.NDArray[np.intp],
    models: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]],
    is_regression: bool,
    scale: tuple[float, float],
) -> npt.NDArray[Any]:
    told: list[list[npt.NDArray[Any]]] = [[] for _ in models]
    for first in range(0, len(asked), ROWS_AT_ONCE):
        batch = rows[asked[first : first + ROWS_AT_ONCE]]
        for place, (weights, bias) in zip(told, models, strict=True):
            said = batch @ weights + bias
            if is_regression:
                place.append(said[:, 0].astype(np.float64) * scale[1] + scale[0])
            else:
                place.append(said.argmax(axis=1))
    return np.stack([np.concatenate(place) for place in told])
