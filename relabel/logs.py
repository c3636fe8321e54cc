"""A job's log: a text file in the workspace, with times in UTC, that can be read while it grows."""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import sys
import time
from pathlib import Path

from relabel.db.jobs import Job
from relabel.progress import Progress
from relabel.workspace import Workspace

FOLDER = "logs"
# Relative to the workspace; the job table puts the id in.
LOG = f"{FOLDER}/job-{{id}}.log"
# How much of the end of a log is read: some thousand lines, in a millisecond.
TAIL_BYTES = 256 * 1024
LONGEST_LINE = 2000  # characters
_LOGGER = logging.getLogger(__name__)


def log_path(workspace: Workspace, job: Job) -> Path | None:
    """Return where a job's log is, or None if it has none of its own.

    The work of a terminal's command, for instance, is told in that terminal.
    """
    path = workspace.root / job.log
    folder = workspace.root / FOLDER
    return path if job.log and path.resolve().is_relative_to(folder.resolve()) else None


def read_log(workspace: Workspace, job: Job, tail: int = 200) -> list[str]:
    """Return the last lines of a job's log, made harmless for a page or a terminal.

    Only the end of the file is read, however long it is. Of a line that was overwritten with
    carriage returns, as progress bars do it, the last state is left; other control characters
    become "?".

    Args:
        workspace: Where the log is.
        job: The job.
        tail: At most so many lines.
    """
    path = log_path(workspace, job)
    if path is None or tail < 1:
        return []
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            content = file.read(TAIL_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = content.removesuffix("\n").split("\n") if content else []
    if size > TAIL_BYTES:
        lines = lines[1:] or lines  # the first one is cut off in the middle
    return [_harmless(line) for line in lines[-tail:]]


def _harmless(line: str) -> str:
    last = line.rstrip("\r").rpartition("\r")[2].replace("\t", "    ")
    # Colours are common in what libraries print; the rest of a sequence would be noise.
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", last[: 2 * LONGEST_LINE])
    return "".join(one if one.isprintable() else "?" for one in plain[:LONGEST_LINE])


def begin_logging() -> None:
    """Send this process's messages, warnings and crashes to stderr, with times in UTC."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    faulthandler.enable()


class StageLog:
    """Logs each stage when it begins and, with its seconds, when it ends."""

    def __init__(self) -> None:
        self._stage = ""
        self._begun = 0.0
        self._ended = True

    def __call__(self, report: Progress) -> None:
        """Take a report."""
        if report.stage != self._stage:
            self._stage, self._begun, self._ended = report.stage, time.monotonic(), False
            _LOGGER.info("%s ...", report.stage)
        if report.done >= report.total > 0 and not self._ended:
            self._ended = True
            _LOGGER.info("%s: %.1f s", report.stage, time.monotonic() - self._begun)
