"""Suspicion: one number for how likely a label is wrong, from all that a run knows of it.

What models that have not seen an example say of its label counts most. The network's own course,
in which it has seen the label, counts as much while it cannot have learned it by heart, and
nothing where it has. Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from relabel.runs.signals import Signals

# How often the network contradicts the labels that it was trained on, divided by how often models
# contradict labels that they have not seen. A network that learned nothing by heart contradicts
# both alike; from the first share on its course counts in full, below the second not at all.
NOT_BY_HEART, BY_HEART = 0.7, 0.3
# A model that is wrong so much more often than the best one, by this part, has no say. Whose
# predictions for examples that they have not seen agree most with the given labels also find wrong
# ones best, on every data set tried; several good ones together find more than one, and a bad one
# among them spoils it.
TOLERANCE = 0.25
# Errors that differ by less are the same.
NEXT_TO_NOTHING = 1e-9

Numbers = npt.NDArray[np.float64]


def weigh_by_errors(errors: Sequence[float]) -> Numbers:
    """Return how much each of several models is to count: the best 1, others down to 0.

    Args:
        errors: Share of examples that each gets wrong, or its mean squared error; shape ``(M,)``.

    Returns:
        Falling in a straight line to 0 where one is wrong ``1 + TOLERANCE`` times as often as the
        best one, shape ``(M,)``.
    """
    wrong = np.asarray(errors, dtype=np.float64)
    best = wrong.min()
    # Where the best is never wrong, only others like it have a say.
    bound = max(TOLERANCE * float(best), NEXT_TO_NOTHING)
    found: Numbers = np.maximum(0.0, 1.0 - (wrong - best) / bound)
    return found


def weigh_course(
    wrong_seen: float, wrong_unseen: float, tested: tuple[float, float] | None = None
) -> float:
    """Return the part of the network's own course in the suspicion, 0 to 1.

    Args:
        wrong_seen: Share of the labels that it was trained on that it contradicts, or its squared
            error there.
        wrong_unseen: The same of models for labels that they have not seen.
        tested: Errors on the test split of the network and of those models; None where there are
            no test examples.
    """
    if wrong_unseen <= 0:
        return 0.0  # nothing is contradicted, and nothing to be weighed
    share = wrong_seen / wrong_unseen
    by_heart = float(np.clip((share - BY_HEART) / (NOT_BY_HEART - BY_HEART), 0.0, 1.0))
    # Without a test split, a network that contradicts more labels than they do has learned less.
    errors = tested or (max(wrong_seen, wrong_unseen), wrong_unseen)
    ours, theirs = weigh_by_errors(errors).tolist()
    ours *= by_heart
    return ours / (ours + theirs) if ours + theirs > 0 else 0.0


def combine_margins(signals: Signals, held_out: Numbers, part: float) -> Numbers:
    """Return the suspicion of a classification's labels, in standard deviations.

    Args:
        signals: Of the train split, arrays ``(C, N)``.
        held_out: Logarithm of how much more probable another label is than the given one, by
            models that have not seen the example, shape ``(N,)``.
        part: Of the network's course, as ``weigh_course`` has it.

    Returns:
        Shape ``(N,)``, high for suspects.
    """
    return _mix(held_out, -signals.margin.astype(np.float64).mean(axis=0), part)


def combine_residuals(signals: Signals, held_out: Numbers, part: float) -> Numbers:
    """Return the suspicion of a regression's numbers, in standard deviations.

    Args:
        signals: Of the train split, arrays ``(C, N)``.
        held_out: Given numbers minus those that models predicted which have not seen the example,
            in the target's own unit, shape ``(N,)``.
        part: Of the network's course, as ``weigh_course`` has it.

    Returns:
        Shape ``(N,)``, high for suspects.
    """
    residuals = np.abs(np.asarray(signals.residual, dtype=np.float64))
    return _mix(np.abs(held_out), residuals.mean(axis=0), part)


def _mix(held_out: Numbers, course: Numbers, part: float) -> Numbers:
    return (1.0 - part) * _standardise(held_out) + part * _standardise(course)


def _standardise(values: Numbers) -> Numbers:
    """Return values in standard deviations, of the middle 98% so that outliers do not set it."""
    if not len(values):
        return values
    low, high = np.percentile(values, (1, 99))
    spread = float(np.clip(values, low, high).std())
    return values / (spread if spread > 0 else 1.0)


def rank_within_classes(scores: Numbers, labels: npt.NDArray[np.integer]) -> Numbers:
    """Return each example's place among those with its label, 0 for the least to 1.

    Args:
        scores: High for suspects, shape ``(N,)``.
        labels: Given labels, shape ``(N,)``.
    """
    order = np.lexsort((scores, labels))
    sorted_labels = labels[order]
    counts = np.bincount(labels)[sorted_labels] if len(labels) else sorted_labels
    starts = np.searchsorted(sorted_labels, sorted_labels, side="left")
    places = np.empty(len(scores), dtype=np.float64)
    places[order] = (np.arange(len(scores)) - starts + 1) / np.maximum(counts, 1)
    return places
