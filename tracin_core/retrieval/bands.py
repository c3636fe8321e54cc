"""Where vectors sorted by norm are cut, so that within a band the angle decides."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tracin_core.retrieval.vectors import Numbers

# The 4% with the largest norms hold nearly every neighbour when norms are heavy-tailed; to look
# at all of them costs 1/25 of an exact search.
_HEAD_SHARE = 25
_FEWEST_ROWS = 512
_TAIL_BANDS = 12
# Narrower bands would cost queries and prune nothing.
_SMALLEST_RATIO = 1.1
# The smallest norms can be absurdly small (fitted examples); geometric bands over all of them
# would leave the rest in one.
_FLOOR_QUANTILE = 0.01


class Cut(NamedTuple):
    """One band, as a range of the sorted vectors; ``scanned`` if it is looked at exactly."""

    start: int
    stop: int
    scanned: bool


def cut_bands(norms: Numbers, scanned_rows: int) -> list[Cut]:
    """Cut norms sorted from large to small into bands.

    The head is scanned exactly. What follows is cut where the norm has fallen by a constant
    ratio, and bands of few rows are scanned too; scanned neighbours are one band, because a scan
    stops by itself where the norms are too small. Zero vectors are a band of their own.

    Args:
        norms: Descending, shape ``(N,)``.
        scanned_rows: Up to so many rows a band is scanned.

    Returns:
        The bands in order and without gaps.
    """
    total, positive = len(norms), int(np.count_nonzero(norms))
    head = min(positive, max(_FEWEST_ROWS, total // _HEAD_SHARE))
    edges = {0, head, positive, total}
    if positive > head:
        edges.update(_cut_tail(norms[:positive], head))
    cuts: list[Cut] = []
    for start, stop in pairwise(sorted(edges)):
        scanned = start < positive and (stop <= head or stop - start <= scanned_rows)
        first = cuts.pop().start if scanned and cuts and cuts[-1].scanned else start
        cuts.append(Cut(first, stop, scanned))
    return cuts


def _cut_tail(norms: Numbers, head: int) -> list[int]:
    """Return the geometric cuts between the head and the end of the positive norms."""
    largest = norms[head]
    smallest = max(norms[-1 - int(_FLOOR_QUANTILE * len(norms))], np.finfo(np.float32).tiny)
    ratio = max((largest / smallest) ** (1 / _TAIL_BANDS), _SMALLEST_RATIO)
    edges = largest / ratio ** np.arange(1, _TAIL_BANDS)
    # Ascending search on the negated, hence ascending, norms.
    cuts = np.unique(np.searchsorted(-norms, -edges, side="right"))
    kept = [head]
    for cut in cuts.tolist():
        if cut - kept[-1] >= _FEWEST_ROWS and len(norms) - cut >= _FEWEST_ROWS:
            kept.append(cut)
    return kept[1:]
