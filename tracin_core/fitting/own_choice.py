"""Which of the checkpoints that a person's training left are scored, and why."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from tracin_core.errors import ConfigurationError, NotFoundError
from tracin_core.fitting.own_measures import Measures
from tracin_core.training.selection import ChosenCheckpoint, choose_checkpoints

# Checkpoints that are looked at; of more, as many spread evenly over the training.
MOST_MEASURED = 40


def spread_evenly(count: int, most: int) -> list[int]:
    """Return at most ``most`` of the numbers from 0, first and last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def choose_own_checkpoints(
    measures: Sequence[Measures], *, chance: float, count: int, title: str
) -> list[ChosenCheckpoint]:
    """Choose at most ``count`` checkpoints, none of which is no better than guessing.

    Args:
        measures: Of each checkpoint, in training order.
        chance: Accuracy that guessing reaches, or 0 for regression.
        count: Most to choose.
        title: How messages name the network.

    Raises:
        ConfigurationError: If none is better than guessing.
    """
    able = [
        index
        for index, found in enumerate(measures)
        if found.score > chance and math.isfinite(found.train_loss)
    ]
    if not able:
        raise ConfigurationError(_explain_chance(measures, chance, title))
    if len(able) <= count:
        return [
            ChosenCheckpoint(index, f"{describe_measures(measures[index], chance)}.")
            for index in able
        ]
    chosen = choose_checkpoints(
        [measures[index].train_loss for index in able],
        [measures[index].score for index in able],
        chance=chance,
        count=count,
    )
    return [
        ChosenCheckpoint(
            able[one.index],
            f"{_describe_progress(able, one.index, measures)}"
            f"{describe_measures(measures[able[one.index]], chance)}.",
        )
        for one in chosen
    ]


def take_steps(
    steps: Sequence[int], wanted: Collection[int], measures: Sequence[Measures], chance: float
) -> list[ChosenCheckpoint]:
    """Return the checkpoints at the steps that a person chose, in training order.

    Args:
        steps: Of each checkpoint.
        wanted: Those that they chose.
        measures: Of each checkpoint.
        chance: Accuracy that guessing reaches.

    Raises:
        NotFoundError: If there is none at one of them.
    """
    missing = sorted(set(wanted) - set(steps))
    if missing:
        raise NotFoundError(
            f"Found no checkpoint at step {missing[0]}; expected some of the steps "
            f"{', '.join(map(str, steps))}. Choose among these."
        )
    return [
        ChosenCheckpoint(
            index, f"Chosen by a person; {describe_measures(measures[index], chance)}."
        )
        for index, step in enumerate(steps)
        if step in wanted
    ]


def describe_measures(found: Measures, chance: float) -> str:
    """Return a clause about a checkpoint."""
    loss = f"train loss {found.train_loss:.3f}"
    if found.test.r2 is not None:
        return f"{loss}, R\N{SUPERSCRIPT TWO} {found.test.r2:.3f}, predicting the mean reaches 0"
    return f"{loss}, accuracy {found.score:.1%}, guessing reaches {chance:.1%}"


def _describe_progress(able: Sequence[int], place: int, measures: Sequence[Measures]) -> str:
    losses = [measures[index].train_loss for index in able]
    top, bottom = losses[0], min(losses)
    if place == 0 or top <= bottom:
        return "The first that can be used: " if place == 0 else ""
    return f"{(top - losses[place]) / (top - bottom):.0%} of the way down: "


def _explain_chance(measures: Sequence[Measures], chance: float, title: str) -> str:
    finite = [found for found in measures if math.isfinite(found.train_loss)]
    scores = [found.score for found in finite if math.isfinite(found.score)]
    if not scores:
        return (
            f"The network of {title} returns numbers that are not finite at every checkpoint; "
            "expected finite ones. See that the transform returns what your training used, and "
            "that the training itself had not diverged."
        )
    if measures[0].test.r2 is not None:
        best = f"explains {max(scores):.1%} of the variance, and predicting the mean 0%"
        usual = "target_mean and target_std are not those of your training"
    else:
        best = f"is right for {max(scores):.1%} of a sample, and guessing reaches {chance:.1%}"
        usual = "its outputs are in another order of classes (say it with OwnModel(classes=...))"
    return (
        f"No checkpoint of {title} is better than guessing: the best {best}. Expected some that "
        f"have learned the task, or scores mean nothing. The usual causes: {usual}, or the "
        "transform is not that of your training. If all of this is right, name the checkpoints "
        "to score with --steps."
    )
