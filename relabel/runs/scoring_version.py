"""The version of the numbers that scoring computes: raised by hand when they change."""

from __future__ import annotations

import tracin_core

# Raise it when a score, a vector or a probability of the same example and checkpoint becomes
# another number: stored rows of other versions are then computed anew instead of reused. What
# keeps the numbers (names, comments, speed, new formats) leaves it alone. A golden run says when
# it has to be raised: tests/relabel/scoring/test_scoring_version.py.
SCORING_VERSION: int = 1

# How a version stands in the digests of runs, where it is not plainly its number. Programs before
# the number wrote a digest of their sources; those with these sources computed what version 1 does,
# so that their runs are found and their rows reused.
_IN_DIGESTS = {1: "0.1.0+d86ecbc6430d"}


def mark_scoring_version() -> str:
    """Return what stands for the scoring version in digests that decide about reuse."""
    return _IN_DIGESTS.get(SCORING_VERSION, f"scoring {SCORING_VERSION}")


def describe_program() -> str:
    """Return the program's version and that of its numbers, for whoever reads a run's record."""
    return f"{tracin_core.__version__}, scoring {SCORING_VERSION}"
