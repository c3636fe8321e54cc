"""The process that does a job: claims it, does it, and leaves a log that explains the end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType

from tracin_core.config import Workspace
from tracin_core.errors import JobError, TracInError
from tracin_core.jobs.carrying_out import JobStopped, carry_out, describe_work
from tracin_core.reviews.database import open_database
from tracin_core.reviews.jobs import claim_job, get_job
from tracin_core.work.logs import StageLog, begin_logging

# People at the pages come first: on two cores, a job would otherwise double their waiting.
NICENESS = 5
_LOGGER = logging.getLogger(__name__)


def work(workspace: Workspace, job_id: int) -> int:
    """Do a queued job in this process.

    Args:
        workspace: Where the project's files are.
        job_id: The job.

    Returns:
        The exit code: 0 if the job ended as it should, by success or by being cancelled, else 1.
    """
    begin_logging()
    signal.signal(signal.SIGTERM, _stop)
    engine = open_database(workspace.database_url)
    try:
        job = claim_job(engine, job_id)
        os.nice(NICENESS)
        _LOGGER.info("%s begins, process %d, options %s", describe_work(job), job.pid, job.options)
        try:
            carry_out(engine, workspace, job, StageLog())
        except JobError as error:
            _LOGGER.info("%s", error)
            return 0 if get_job(engine, job_id).state == "cancelled" else 1
        _LOGGER.info("%s has succeeded", describe_work(job))
        return 0
    except TracInError as error:
        _LOGGER.error("%s", error)
    except JobStopped:
        _LOGGER.error("The process was told to end.")
    except Exception:
        _LOGGER.exception("A bug stopped the job")
    finally:
        engine.dispose()
        sys.stdout.flush()
    return 1


def _stop(number: int, frame: FrameType | None) -> None:
    raise JobStopped
