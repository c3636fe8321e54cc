"""Work on whole projects: imports, backups, restorations; and what came of them."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from relabel.db.jobs import (
    ACTIVE,
    Job,
    get_job,
    list_jobs,
)
from relabel.errors import NotFoundError
from relabel.text import counted
from ui.navigation import open_page
from ui.runs.jobs import draw_ended, draw_running, watch_job
from ui.session import get_engine, select_project
from ui.uploads import safe_name
from ui.wording import escape_markdown

KINDS = ("import", "backup", "restore")
PARAMETER = "job"  # in the address: the job whose outcome is shown
_SHOWN_REFUSED = 20
# What an import reports besides what it added: of one, of several.
_LEFT = (
    (
        "skipped_known",
        "was there already and stays as it is",
        "were there already and stay as they are",
    ),
    ("changed", "had changed and is kept as imported", "had changed and are kept as imported"),
    (
        "duplicates",
        "came more than once and was taken once",
        "came more than once and were taken once",
    ),
    ("num_refused", "could not be used and was left out", "could not be used and were left out"),
)
# What a server holds in memory to send; a larger backup is fetched from its path.
_LARGEST_DOWNLOAD = 500 * 10**6  # bytes


def read_project_jobs() -> list[Job]:
    """Return the latest work on whole projects, newest first."""
    return [job for job in list_jobs(get_engine()) if job.kind in KINDS]


def draw_project_jobs(jobs: list[Job]) -> None:
    """Draw the work that is going on, and the outcome of the job that the address names."""
    named = _named_job()
    for job in jobs:
        if job.state in ACTIVE:
            with st.container(border=True):
                st.text(f"Project {job.project_slug}")
                watch_job(job, draw_running)
    if named is not None and named.state not in ACTIVE:
        with st.container(border=True):
            _draw_outcome(named)


def _named_job() -> Job | None:
    number = st.query_params.get(PARAMETER, "")
    if not number.isdecimal() or len(number) > 9:
        return None
    try:
        job = get_job(get_engine(), int(number))
    except NotFoundError:
        return None
    return job if job.kind in KINDS else None


def _draw_outcome(job: Job) -> None:
    if job.state != "succeeded":
        draw_ended(job)
    elif job.kind == "backup":
        st.success(escape_markdown(f"“{job.project_slug}” is backed up in {_path_of(job)}"))
    else:
        restored = f"“{job.project_slug}” is restored."
        st.success(escape_markdown(describe_import(job) if job.kind == "import" else restored))
        _draw_refused(job)
    with st.container(horizontal=True):
        if job.state == "succeeded":
            _draw_next_step(job)
        if st.button("Close", key=f"close-{job.id}"):
            del st.query_params[PARAMETER]
            st.rerun()


def _draw_next_step(job: Job) -> None:
    if job.kind == "backup":
        _draw_download(job)
    elif st.button(
        "Train a model" if job.kind == "import" else "Open it",
        type="primary",
        key=f"go-on-{job.project_slug}",
        on_click=select_project,
        args=(job.project_slug,),
    ):
        open_page("runs" if job.kind == "import" else "overview")


def describe_import(job: Job) -> str:
    """Return in two or three sentences what an import has brought."""
    result = job.result
    added = {split: int(count) for split, count in dict(result.get("added") or {}).items()}
    parts = ", ".join(f"{count:,} {split}" for split, count in added.items() if count)
    total = sum(added.values())
    said = [
        f"“{job.project_slug}”: {counted(total, 'example')} imported"
        + (f" ({parts})." if parts else ".")
    ]
    for field, one, many in _LEFT:
        if number := int(result.get(field) or 0):
            said.append(f"{counted(number, one, many)}.")
    if result.get("classes_added") and not result.get("created", True):
        names = ", ".join(str(name)[:40] for name in list(result["classes_added"])[:10])
        said.append(f"New classes: {names}.")
    said += [str(note) for note in result.get("notes") or ()]
    return " ".join(said)


def _draw_refused(job: Job) -> None:
    refused = list(job.result.get("refused") or ())[:_SHOWN_REFUSED]
    if not refused:
        return
    with st.expander("What was left out or has changed, and why", key=f"refused-{job.id}"):
        for problem in refused:
            st.text(f"{problem.get('where', '')}: {problem.get('message', '')}")
        total = int(job.result.get("num_refused") or 0)
        if total > len(refused):
            st.caption(f"The first {len(refused)} of {total:,}.")


def _draw_download(job: Job) -> None:
    path = _path_of(job)
    size = path.stat().st_size if path.is_file() else 0
    if 0 < size <= _LARGEST_DOWNLOAD:
        st.download_button(
            "Download it",
            path.read_bytes,
            file_name=safe_name(path.name),  # it becomes a header
            mime="application/zip",
            key=f"download-{job.id}",
            on_click="ignore",
        )
    elif size:
        st.caption("It is too large to be sent through the browser; copy it from there.")


def _path_of(job: Job) -> Path:
    return Path(str(job.options.get("path", "")))
