"""Long work on the screen: how far it is, its log, cancel and retry; all from the database."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import pandas as pd
import streamlit as st

from relabel.db.jobs import (
    ACTIVE,
    STALE_AFTER,
    Job,
    describe_silence,
    fail_dead_jobs,
    get_job,
    process_is_alive,
)
from relabel.db.schema import utc_now
from relabel.errors import JobError
from relabel.jobs.launch import cancel_job, retry_job
from relabel.logs import read_log
from relabel.text import format_seconds
from ui.failures import report_errors
from ui.session import get_engine, get_workspace
from ui.wording import escape_markdown, moment_text, time_left

POLL_SECONDS = 1.0
_LOG_LINES = 200
_LOG_HEIGHT = 260  # pixels
WORK_WORDS = {
    "import": "Import",
    "train": "Training",
    "score": "Scoring",
    "rescore": "Scoring of changed labels",
    "gain": "Measurement of the gain",
    "compare": "Comparison of methods",
    "backup": "Backup",
    "restore": "Restoring",
}
STATE_WORDS = {
    "queued": "Starting",
    "running": "Running",
    "succeeded": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
}


def kind_word(job: Job) -> str:
    """Return what a job does, as a heading has it."""
    return WORK_WORDS.get(job.kind, job.kind)


def watch_job(job: Job, draw: Callable[[Job], None]) -> None:
    """Draw an active job again every second, and the whole page once when it has ended.

    Args:
        job: The job; one that has ended is drawn once and not watched.
        draw: Draws it as it is now.
    """
    watching = job.state in ACTIVE

    def look() -> None:
        with report_errors():
            now = _look_again(job)
            if watching and now.state not in ACTIVE:
                st.rerun()
            draw(now)

    st.fragment(look, run_every=POLL_SECONDS if watching else None, key=f"watch-{job.id}")()


def _look_again(job: Job) -> Job:
    """Return the job as it is now, failed if its process died without a word."""
    now = get_job(get_engine(), job.id)
    if now.state in ACTIVE and _may_be_dead(now):
        fail_dead_jobs(get_engine())
        now = get_job(get_engine(), job.id)
    return now


def _may_be_dead(job: Job) -> bool:
    # Looked at first without writing: the database's only writer may be the job itself.
    if job.hostname == socket.gethostname() and job.pid is not None:
        return not process_is_alive(job.pid) or bool(describe_silence(job))
    return utc_now() - (job.heartbeat_at or job.created_at) > STALE_AFTER


def draw_running(job: Job) -> None:
    """Draw how far an active job is, with the buttons and the log; always equally high."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{escape_markdown(kind_word(job))}**", width="content")
        st.badge(_state_badge(job), color="blue")
        st.caption(f"since {moment_text(job.started_at or job.created_at)}", width="content")
    silence = describe_silence(job)
    if silence:
        st.warning(escape_markdown(silence))
    doing = job.message or "waiting for its process"
    # The bar is about the whole job, so its text begins with that and not with the step.
    whole = f"{job.progress:.0%} of the whole"
    told = [part for part in (whole, doing, time_left(job.seconds_left)) if part]
    st.progress(job.progress, text=escape_markdown(" · ".join(told)))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Cancel",
            key=f"cancel-{job.id}",
            on_click=_cancel,
            args=(job.id,),
            disabled=job.cancel_requested and not silence,
        )
        st.caption("It goes on when you close this page, and when the app is stopped.")
    draw_log(job)


def _cancel(job_id: int) -> None:
    # It may have ended since it was drawn; the page says so by itself in a moment.
    with suppress(JobError):
        cancel_job(get_engine(), job_id)


def _state_badge(job: Job) -> str:
    return "Stopping" if job.cancel_requested else STATE_WORDS.get(job.state, job.state)


def draw_log(job: Job) -> None:
    """Draw the end of the log, folded away."""
    with st.expander("Log", key=f"log-{job.id}"):
        lines = read_log(get_workspace(), job, tail=_LOG_LINES)
        st.code(
            "\n".join(lines) or "Nothing yet.", language=None, height=_LOG_HEIGHT, wrap_lines=True
        )


def draw_ended(job: Job) -> None:
    """Draw how a failed or cancelled job ended, and the way to go on."""
    if job.state == "failed":
        st.error(escape_markdown(f"{kind_word(job)} failed. {job.error}"))
    else:
        st.warning(
            f"{escape_markdown(kind_word(job))} was cancelled. What was finished is kept; "
            "starting again goes on from there."
        )
    if st.button("Try again", key=f"retry-{job.id}"):
        with report_errors():
            retry_job(get_engine(), get_workspace(), job.id)
            st.rerun()
    draw_log(job)


def draw_job_list(jobs: list[Job]) -> None:
    """Draw earlier work, newest first."""
    frame = pd.DataFrame(
        {
            "Started": [moment_text(job.created_at) for job in jobs],
            "Work": [kind_word(job) for job in jobs],
            "State": [STATE_WORDS.get(job.state, job.state) for job in jobs],
            "Took": [_took(job) for job in jobs],
            "Result": [job.error or job.message for job in jobs],
        }
    )
    st.dataframe(
        frame, hide_index=True, alt="Earlier work on this project", placeholder="–", key="jobs"
    )


def _took(job: Job) -> str:
    if job.started_at is None or job.finished_at is None:
        return "–"
    return format_seconds((job.finished_at - job.started_at).total_seconds())
