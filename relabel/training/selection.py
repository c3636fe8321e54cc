"""Choose the checkpoints that TracIn sums over, each with the reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# What a network is judged by: the share predicted right, or the share of variance explained.
Measure = Literal["accuracy", "r2"]


@dataclass(frozen=True)
class ChosenCheckpoint:
    """One chosen epoch.

    Attributes:
        index: 0-based index into the epochs.
        reason: Why, in a sentence for the person.
    """

    index: int
    reason: str


def choose_checkpoints(
    losses: Sequence[float],
    accuracies: Sequence[float],
    *,
    chance: float,
    count: int,
    measure: Measure = "accuracy",
) -> list[ChosenCheckpoint]:
    """Choose epochs at equal steps of the train loss on its way down.

    Pruthi et al. 2020 (arXiv:2002.08484v3), App. D: sample "more frequently when the rate of
    decrease is higher", avoid the beginning, and checkpoints "after training has converged add
    little". Their FAQ: "only after the model is doing better than random guessing". So the loss
    between the first epoch that beats chance and the lowest one is cut into equal pieces, and
    each piece gives the first epoch that reaches it. Where the loss leaps over several pieces
    in one epoch, the epochs with the largest falls fill up the number.

    Args:
        losses: Train loss after each epoch, in nats, shape ``(E,)``.
        accuracies: Test accuracy after each epoch, 0 to 1, shape ``(E,)``; for regression the
            share of variance explained.
        chance: Accuracy that guessing can reach, 0 to 1; for regression 0, which predicting the
            mean reaches.
        count: Most epochs to choose.
        measure: Which of the two ``accuracies`` are, for the reasons.

    Returns:
        1 to ``count`` epochs in training order; fewer where fewer lowered the loss. If no epoch
        beats chance, the choice is made among all of them, and the reason says so.
    """
    if len(losses) != len(accuracies) or not losses or count < 1:
        raise ValueError("expected as many accuracies as losses, and at least one to choose")
    able = [index for index, accuracy in enumerate(accuracies) if accuracy > chance]
    candidates = able or list(range(len(losses)))
    lowest = _running_minimum([losses[index] for index in candidates])
    places = _cut_equally(lowest, count)
    _fill_up(places, lowest, count)
    rival = "chance" if measure == "accuracy" else "predicting the mean"
    remark = "" if able else f" No epoch beats {rival}, so doubt every score of this run."
    return [
        ChosenCheckpoint(
            candidates[place],
            f"{_explain(place, lowest)}; "
            f"{_compare(accuracies[candidates[place]], chance, measure)}.{remark}",
        )
        for place in sorted(places)
    ]


def guessing_accuracy(class_counts: Sequence[int]) -> float:
    """Return the accuracy that guessing the most frequent class reaches but for bad luck.

    Two standard errors are added to its share, so that a network which has learned nothing
    passes in one of 40 epochs at most.

    Args:
        class_counts: Test examples of each class, shape ``(K,)``.

    Returns:
        An accuracy, 0 to below 1 (a test split of one class can be guessed, so any accuracy
        short of perfect must do).
    """
    total = sum(class_counts)
    if not total:
        return 0.0
    share = max(class_counts) / total
    return min(share + 2.0 * math.sqrt(share * (1.0 - share) / total), 1.0 - 1.0 / total)


def _running_minimum(losses: Sequence[float]) -> list[float]:
    """Return the lowest loss so far; a loss that rises again is no progress."""
    lowest: list[float] = []
    for loss in losses:
        lowest.append(min(loss, lowest[-1]) if lowest else loss)
    return lowest


def _cut_equally(lowest: Sequence[float], count: int) -> set[int]:
    """Return the first place that reaches each of ``count`` equally spaced losses."""
    top, bottom = lowest[0], lowest[-1]
    if count == 1:
        targets = [(top + bottom) / 2]
    else:
        targets = [top - (top - bottom) * part / (count - 1) for part in range(count)]
    # Rounding may put the last target a hair under the lowest loss; `max` brings it back.
    return {
        next(place for place, loss in enumerate(lowest) if loss <= max(target, bottom))
        for target in targets
    }


def _fill_up(places: set[int], lowest: Sequence[float], count: int) -> None:
    """Add the places with the largest falls, earlier ones first, while any lowered the loss."""
    falls = {place: lowest[place - 1] - lowest[place] for place in range(1, len(lowest))}
    spare = sorted((p for p in falls if p not in places), key=lambda p: (-falls[p], p))
    places.update(p for p in spare[: max(count - len(places), 0)] if falls[p] > 0)


def _explain(place: int, lowest: Sequence[float]) -> str:
    top, bottom = lowest[0], lowest[-1]
    share = (top - lowest[place]) / (top - bottom) if top > bottom else 0.0
    if place == 0:
        return f"The first epoch that can be used, train loss {top:.3f}"
    return f"{share:.0%} of the way down, train loss {lowest[place]:.3f}"


def _compare(accuracy: float, chance: float, measure: Measure) -> str:
    if measure == "accuracy":
        return f"test accuracy {accuracy:.1%}, guessing reaches {chance:.1%}"
    return (
        f"R\N{SUPERSCRIPT TWO} {accuracy:.3f} on the test examples, predicting their mean reaches 0"
    )
