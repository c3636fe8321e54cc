"""Suspicion: one number for how likely a label is wrong, from all that a run knows of it.

What models that have not seen an example say of its label counts most. The network's own course,
in which it has seen the label, counts as much while it cannot have learned it by heart, and
nothing where it has. Free of torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relabel.runs.signals import Signals

# How often the network contradicts the labels that it was trained on, divided by how often models
# contradict labels that they have not seen. A network that learned nothing by heart contradicts
# both alike; from the first share on its course counts in full, below the second not at all.
NOT_BY_HEART, BY_HEART = 0.7, 0.3
# A network that contradicts more labels than they do has learned less than they have: up to the
# first share its course counts in full, from the second on not at all.
AS_GOOD, WORSE = 1.1, 1.5
# The part of the course where it counts in full. On photographs it added 1 to 2% to the average
# precision, on texts, which a network learns by heart, it took away 2 to 20%.
PART_OF_COURSE = 0.5

Numbers = npt.NDArray[np.float64]


def weigh_course(wrong_seen: float, wrong_unseen: float) -> float:
    """Return the part of the network's own course in the suspicion, 0 to 0.5.

    Args:
        wrong_seen: Share of the labels that it was trained on that it contradicts, or its mean
            squared error there.
        wrong_unseen: The same of models for labels that they have not seen.
    """
    if wrong_unseen <= 0:
        return 0.0  # nothing is contradicted, and nothing to be weighed
    share = wrong_seen / wrong_unseen
    learned = (WORSE - share) / (WORSE - AS_GOOD)
    not_by_heart = (share - BY_HEART) / (NOT_BY_HEART - BY_HEART)
    return PART_OF_COURSE * float(np.clip(min(learned, not_by_heart), 0.0, 1.0))


def combine_margins(signals: Signals, held_out: Numbers) -> Numbers:
    """Return the suspicion of a classification's labels, in standard deviations.

    Args:
        signals: Of the train split, arrays ``(C, N)``.
        held_out: Logarithm of how much more probable another label is than the given one, by
            models that have not seen the example, shape ``(N,)``.

    Returns:
        Shape ``(N,)``, high for suspects.
    """
    margins = -signals.margin.astype(np.float64)
    part = weigh_course(float((margins[-1] > 0).mean()), float((held_out > 0).mean()))
    return _mix(held_out, margins.mean(axis=0), part)


def combine_residuals(signals: Signals, held_out: Numbers) -> Numbers:
    """Return the suspicion of a regression's numbers, in standard deviations.

    Args:
        signals: Of the train split, arrays ``(C, N)``.
        held_out: Given numbers minus those that models predicted which have not seen the example,
            in the target's own unit, shape ``(N,)``.

    Returns:
        Shape ``(N,)``, high for suspects.
    """
    residuals = np.abs(np.asarray(signals.residual, dtype=np.float64))
    unseen = np.abs(held_out)
    # Medians: a single slipped decimal point would be all that a mean says.
    part = weigh_course(float(np.median(residuals[-1]) ** 2), float(np.median(unseen) ** 2))
    return _mix(unseen, residuals.mean(axis=0), part)


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
