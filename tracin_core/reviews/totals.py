"""How many examples a filter lets through: counted once a run, corrected by the decisions.

Given labels, texts and predictions of a registered run do not change, so how many examples pass
those conditions is remembered: counting a filter reads the whole ranking (0.1 s per 200,000
examples), and a person pages through the same filter again and again. What decisions change is
counted from the decisions, which are few beside the examples.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

# Filters remembered in a process; a number each.
CAPACITY = 512

_totals: OrderedDict[Hashable, int] = OrderedDict()
_lock = Lock()


def remembered_total(key: Hashable, count: Callable[[], int]) -> int:
    """Return the total kept under the key, counted on first use.

    Args:
        key: Names database, run, the moment of its registration, and the filter.
        count: Counts in the database.
    """
    with _lock:
        if key in _totals:
            _totals.move_to_end(key)
            return _totals[key]
    total = count()
    with _lock:
        _totals[key] = total
        while len(_totals) > CAPACITY:
            _totals.popitem(last=False)
    return total


def forget_totals() -> None:
    """Forget all totals; for measuring."""
    with _lock:
        _totals.clear()
