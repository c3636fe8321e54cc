"""Report a running job's progress: heartbeats, cancellation, one bar for all its stages.

``JobReporter`` writes to the job table from a thread of its own and raises where the job is asked
to stop. ``JobProgress`` turns the stages' reports into one share that never goes back, and into
the time that is left.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any

from sqlalchemy import Engine

from relabel.db.jobs import heartbeat
from relabel.errors import DatabaseError, JobError
from relabel.progress import OnProgress, Progress, ignore_progress

# Seconds over which the time left is averaged: long enough to read, short enough to follow.
SMOOTHING = 10.0
# A stage must have run so long, and be so large a part of the job, before the rest of the job is
# judged by it: loading a library says nothing about a training.
LEAST_SECONDS = 1.0
LEAST_SHARE = 0.05
# Seconds between two heartbeats. One small write each: reviewers do not notice it, and a person
# who cancels waits about two seconds.
INTERVAL = 1.0
# Seconds that the work has, after it was told to stop, to come to its next report by itself.
GRACE = 0.5
_LOGGER = logging.getLogger(__name__)


class JobProgress:
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
        self._stage = self._detail = ""
        self._share_of_stage = 0.0
        self._begun = (clock(), 0.0)  # when the stage was first heard of, and its share then
        self._left: tuple[float, float] | None = None  # seconds left, and when that was said
        self.share = 0.0

    def update(self, report: Progress) -> None:
        """Take one report of the work."""
        share = min(1.0, report.done / report.total) if report.total > 0 else 0.0
        if report.stage != self._stage:
            self._stage, self._begun = report.stage, (self._clock(), share)
        self._share_of_stage, self._detail = share, report.detail
        entry = self._entry()
        if entry is not None:
            start = self._weight_before(entry)
            self.share = max(self.share, min(1.0, start + share * self._weights[entry]))

    @property
    def message(self) -> str:
        """What is being done, for people."""
        if not self._stage or (self._share_of_stage in (0.0, 1.0) and not self._detail):
            return self._stage
        said = [f"{self._share_of_stage:.0%} of this step", self._detail]
        return f"{self._stage} ({'; '.join(filter(None, said))})"

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
        # What is done already is not to come, though its stage may stand later in the plan.
        after = 1.0 - max(self.share, self._weight_before(entry) + weight)
        if weight < LEAST_SHARE and after > weight:
            return None
        return whole_stage * (1.0 - self._share_of_stage) + whole_stage / weight * max(0.0, after)

    def _entry(self) -> str | None:
        return next((name for name in self._weights if self._stage.startswith(name)), None)

    def _weight_before(self, entry: str) -> float:
        names = list(self._weights)
        return sum(self._weights[name] for name in names[: names.index(entry)])


class JobCancelled(BaseException):
    """The job was asked to stop; no handler of errors is to stand in its way."""


class JobReporter:
    """Takes the work's reports, tells the job table about them, and stops the work when asked.

    Use it as a context manager around the work and as the work's ``on_progress``. Reports are
    only kept in memory; a thread writes the newest one every second, and goes on trying while
    the database is locked or away, so neither stops the work.
    """

    def __init__(
        self,
        engine: Engine,
        job_id: int,
        plan: Mapping[str, float],
        *,
        show: OnProgress = ignore_progress,
        interval: float = INTERVAL,
    ) -> None:
        """Prepare for a job.

        Args:
            engine: The database.
            job_id: The job, which this process has claimed.
            plan: The stages with their parts of the time, as in ``JobProgress``.
            show: Told about every report as well.
            interval: Seconds between heartbeats.
        """
        self._engine = engine
        self._job_id = job_id
        self._overall = JobProgress(plan)
        self._show = show
        self._interval = interval
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._why_stop: BaseException | None = None
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._former_handlers: dict[int, Any] = {}

    def __call__(self, report: Progress) -> None:
        """Take a report.

        Raises:
            JobCancelled: If somebody has asked the job to stop.
            KeyboardInterrupt: If Ctrl-C was pressed before, and got lost.
            JobError: If the job was taken for dead and does not belong to this process any more.
        """
        if self._why_stop is not None:
            raise self._why_stop
        with self._lock:
            self._overall.update(report)
        self._show(report)

    def __enter__(self) -> JobReporter:
        if threading.current_thread() is threading.main_thread():
            self._handle(signal.SIGUSR1, self._interrupt)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._handle(signal.SIGINT, self._take_ctrl_c)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)

    def _beat(self) -> None:
        told = False
        while not self._over.wait(self._interval):
            try:
                self._tell()
                told = False
            except DatabaseError as error:
                if not told:
                    _LOGGER.warning("The job goes on without telling how far it is: %s", error)
                told = True
            except JobError as error:
                self._why_stop = error
            except Exception:
                # A bug here must neither end the work nor go unseen.
                _LOGGER.exception("A heartbeat failed")
            if self._why_stop is not None:
                self._insist()
                return

    def _tell(self) -> None:
        with self._lock:
            share, message = self._overall.share, self._overall.message
            left = self._overall.seconds_left()
        if heartbeat(
            self._engine, self._job_id, progress=share, message=message, seconds_left=left
        ):
            self._why_stop = JobCancelled()

    def _insist(self) -> None:
        """Interrupt work that reports too rarely, as Ctrl-C would, until it has ended.

        Whatever jobs write is there whole or not at all, so they may be stopped anywhere.
        """
        while not self._over.wait(GRACE) and self._former_handlers:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def _handle(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        self._former_handlers[number] = signal.signal(number, handler)

    def _take_ctrl_c(self, number: int, frame: FrameType | None) -> None:
        """Stop at once; and again at the next report, where a library has swallowed it.

        Compiled modules do so while they are imported, which takes seconds for torch.
        """
        if self._why_stop is None:
            self._why_stop = KeyboardInterrupt()
        self._interrupt(number, frame)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._why_stop is not None and not self._over.is_set():
            raise self._why_stop
