"""A second opinion on a label: what the example's opponents are labelled.

An opponent's training step raised the example's loss: the two look alike to the model and pull
toward different labels. Where the given label is wrong, the right one is often the opponents'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Suggestion:
    """The label that most opponents carry.

    Attributes:
        label: Class index.
        votes: How many opponents carry it.
        of: How many opponents there are.
    """

    label: int
    votes: int
    of: int


def suggest_label(opponent_labels: Sequence[int], given_label: int) -> Suggestion | None:
    """Return the label that more opponents carry than any other, or None.

    Args:
        opponent_labels: Labels of the opponents, as given or as reviewed, in any order.
        given_label: Label of the example; its opponents are no argument for it.

    Returns:
        None where there are no opponents, where two labels lead with equal votes, or where the
        leading label is the given one.
    """
    ranked = Counter(opponent_labels).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    label, votes = ranked[0]
    if label == given_label:
        return None
    return Suggestion(label=label, votes=votes, of=len(opponent_labels))
