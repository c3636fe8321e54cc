"""One bar for a whole job: the stages' shares of it, and the time that is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from tracin_core.work.progress import Progress

# Seconds over which the time left is averaged: long enough to read, short enough to follow.
SMOOTHING = 10.0
# A stage must have run so long, and be so large a part of the job, before the rest of the job is
# judged by it: loading a library says nothing about a training.
LEAST_SECONDS = 1.0
LEAST_SHARE = 0.05


class OverallProgress:
    """How far a job of several stages is, from 0 to 1 and never backwards.

    A stage belongs to the first entry of the plan that its name begins with. One that the plan
    does not know moves nothing.
    """

    def __init__(
        self, plan: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare for a job.

        Args:
            plan: Beginnings of the stages' names, in the order in which they come, with their
                guessed parts of the job's time in any unit.
            clock: Seconds from some moment on.
        """
        whole = sum(plan.values())
        self._weights = {name: weight / whole for name, weight in plan.items()}
        self._clock = clock
        self._stage = ""
        self._share_of_stage = 0.0
        self._begun = (clock(), 0.0)  # when the stage was first heard of, and its share then
        self._left: tuple[float, float] | None = None  # seconds left, and when that was said
        self.share = 0.0

    def update(self, report: Progress) -> None:
        """Take one report of the work."""
        share = min(1.0, report.done / report.total) if report.total > 0 else 0.0
        if report.stage != self._stage:
            self._stage, self._begun = report.stage, (self._clock(), share)
        self._share_of_stage = share
        entry = self._entry()
        if entry is not None:
            start = self._weight_before(entry)
            self.share = max(self.share, min(1.0, start + share * self._weights[entry]))

    @property
    def message(self) -> str:
        """What is being done, for people."""
        if not self._stage or self._share_of_stage in (0.0, 1.0):
            return self._stage
        return f"{self._stage} ({self._share_of_stage:.0%} of this step)"

    def seconds_left(self) -> float | None:
        """Return how long the job will still take, or None while nothing can be said."""
        now, guess = self._clock(), self._guess_left()
        counted_down = None if self._left is None else self._left[0] - (now - self._left[1])
        if guess is None:
            return None if counted_down is None else max(0.0, counted_down)
        if counted_down is None or self._left is None:
            left = guess
        else:
            # The first guesses are the worst, so each one counts by the time it stands for.
            keep = math.exp(-(now - self._left[1]) / SMOOTHING)
            left = max(0.0, keep * counted_down + (1 - keep) * guess)
        self._left = (left, now)
        return left

    def _guess_left(self) -> float | None:
        """Judge the rest of the job by the speed of the present stage."""
        entry, (begun_at, begun_share) = self._entry(), self._begun
        seconds, gained = self._clock() - begun_at, self._share_of_stage - begun_share
        if entry is None or seconds < LEAST_SECONDS or gained <= 0:
            return None
        whole_stage, weight = seconds / gained, self._weights[entry]
        after = 1.0 - self._weight_before(entry) - weight
        if weight < LEAST_SHARE and after > weight:
            return None
        return whole_stage * (1.0 - self._share_of_stage) + whole_stage / weight * max(0.0, after)

    def _entry(self) -> str | None:
        return next((name for name in self._weights if self._stage.startswith(name)), None)

    def _weight_before(self, entry: str) -> float:
        names = list(self._weights)
        return sum(self._weights[name] for name in names[: names.index(entry)])
