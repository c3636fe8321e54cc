"""A running job's voice: heartbeats from a thread of its own, and the ear for a cancellation."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any

from sqlalchemy import Engine

from tracin_core.errors import DatabaseError, JobError
from tracin_core.jobs.overall import OverallProgress
from tracin_core.reviews.jobs import heartbeat
from tracin_core.work.progress import OnProgress, Progress, ignore_progress

# Seconds between two heartbeats. One small write each: reviewers do not notice it, and a person
# who cancels waits about two seconds.
INTERVAL = 1.0
# Seconds that the work has, after it was told to stop, to come to its next report by itself.
GRACE = 0.5
_LOGGER = logging.getLogger(__name__)


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
            plan: The stages with their parts of the time, as in ``OverallProgress``.
            show: Told about every report as well.
            interval: Seconds between heartbeats.
        """
        self._engine = engine
        self._job_id = job_id
        self._overall = OverallProgress(plan)
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
