"""Where vectors sorted by norm are cut, so that within a band the angle decides."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tracin_core.retrieval.vectors import Numbers

# The 4% with the largest norms hold nearly every neighbour when norms are heavy-tailed; to look
# at all of them costs 1/25 of an exact search.
_HEAD_SHARE = 25
_FIRST_ROWS = 512
_FEWEST_ROWS = 512
_TAIL_BANDS = 12
# Narrower bands would cost queries and prune nothing.
_SMALLEST_RATIO = 1.1
# The smallest norms can be absurdly small (fitted examples); geometric bands over all of them
# would leave the rest in one.
_FLOOR_QUANTILE = 0.01


def cut_bands(norms: Numbers) -> tuple[list[tuple[int, int]], int]:
    """Cut norms sorted from large to small into bands.

    The head, meant for exact scans, is cut once: the first rows yield a score that tells how
    far into the rest to look. What follows is cut where the norm has fallen by a constant
    ratio. Zero vectors are a band of their own.

    Args:
        norms: Descending, shape ``(N,)``.

    Returns:
        The bands as ``(start, stop)``, in order and without gaps, and how many rows belong to
        the head (a cut falls there).
    """
    total, positive = len(norms), int(np.count_nonzero(norms))
    head = min(positive, max(_FEWEST_ROWS, total // _HEAD_SHARE))
    cuts = {0, head, positive, total}
    if head > _FIRST_ROWS:
        cuts.add(_FIRST_ROWS)
    if positive > head:
        cuts.update(_cut_tail(norms[:positive], head))
    return list(pairwise(sorted(cuts))), head


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
