"""A project's jobs on its Runs page: what is going on, how the last one ended, what can start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from relabel.db.decisions.kinds import list_states
from relabel.db.jobs import Job, active_job, list_jobs
from relabel.db.project_rules import Project
from relabel.db.runs import Run, current_run
from relabel.db.stats import review_progress
from relabel.fitting.saved import TrainingInfo, find_newest_training, list_trainings
from relabel.jobs.launch import start_job
from relabel.models.user.config import needs_consent
from relabel.scoring.estimate import estimate_full_rescoring, explain_full_rescoring
from relabel.text import counted, format_seconds
from ui.failures import report_errors
from ui.navigation import open_page
from ui.runs.changes import count_unranked, labels_have_changed
from ui.runs.jobs import draw_ended, draw_running, watch_job
from ui.runs.loss_curve import describe_epoch, draw_loss_curve
from ui.runs.model_quality import judge_model
from ui.runs.own_model import agree_to_network
from ui.session import get_engine, get_workspace
from ui.wording import escape_markdown

_NO_EPOCH = "The curve begins with the first epoch."


def draw_current_work(project: Project) -> Job | None:
    """Draw the job that works on the project, or how the last one ended.

    Returns:
        The job that is at work, or None.
    """
    job = active_job(get_engine(), project.slug)
    if job is not None:
        with st.container(border=True):
            watch_job(job, _draw_active)
        return job
    latest = list_jobs(get_engine(), project.slug, limit=1)
    if latest:
        _draw_latest(project, latest[0])
    return None


def _draw_active(job: Job) -> None:
    draw_running(job)
    if job.kind == "train":
        _draw_live_curve(job)


def _draw_live_curve(job: Job) -> None:
    """Draw the curve of the training that the job is at, not of an earlier one."""
    trainings = list_trainings(get_workspace(), job.project_slug)
    training = trainings[-1] if trainings else None
    begun = (job.started_at or job.created_at).isoformat(timespec="seconds")
    epochs = training.epochs if training and training.requested_at >= begun else ()
    total = training.planned_epochs if training and epochs else 0
    st.caption(escape_markdown(describe_epoch(epochs[-1], total)) if epochs else _NO_EPOCH)
    draw_loss_curve(epochs, total=total, key="live-curve")


def _draw_latest(project: Project, job: Job) -> None:
    if job.state != "succeeded":
        draw_ended(job)
        return
    if "run" not in job.result:
        return
    run = current_run(get_engine(), project.id)
    weak = run is not None and bool(judge_model(project, run).warnings)
    said = "Scored. The queue is ranked anew."
    if job.kind == "rescore":
        computed = int(job.result.get("examples_computed") or 0)
        were = "was" if computed == 1 else "were"
        computed_text = counted(computed, "example")
        said = f"Scored again: {computed_text} {were} computed, the unchanged ones copied."
    # Green says that all is well; of a weak model, which is told below, that would be too much.
    (st.info if weak else st.success)(said)
    if st.button("Review the suspects", type="primary", key=f"review-{job.id}"):
        open_page("review")


def start_work(project: Project, kind: str, options: Mapping[str, Any]) -> None:
    """Start a job and show it, or say why it cannot start."""
    with report_errors():
        start_job(get_engine(), get_workspace(), project.slug, kind, options)
        st.rerun()


def draw_rescoring(project: Project, run: Run) -> None:
    """Draw the way to bring the scores up to the decisions and to examples that came later."""
    progress = review_progress(get_engine(), project.id)
    relabelled, excluded = (
        sum(progress.by_status[state] for state in list_states(effect))
        for effect in ("correct", "exclude")
    )
    unranked = count_unranked(project, run)
    st.header("After your decisions", anchor=False)
    if unranked:
        have = "has" if unranked == 1 else "have"
        st.info(
            f"{counted(unranked, 'train example')} {have} come since the current run was scored, "
            "to be in the queue after the next scoring."
        )
    st.caption(
        f"So far {relabelled:,} relabelled and {excluded:,} excluded. Scoring again computes only "
        "what has changed; training again lets the model learn the corrected labels, without what "
        "is excluded."
    )
    _draw_full_rescoring(project)
    changed = unranked > 0 or labels_have_changed(project, run)
    if not changed:
        st.caption(
            "Nothing to score: every label is as it was when the current run was scored."
            if progress.decisions
            else "Nothing to score: nothing has been decided yet."
        )
    agreed = changed and agree_to_network(run.config.get("model"), place="rescore")
    if st.button("Score again after my decisions", key="rescore", disabled=not agreed):
        start_work(project, "rescore", {"run_my_code": agreed} if _is_own(run) else {})


def _draw_full_rescoring(project: Project) -> None:
    """Draw a note where nothing of the current run can be taken over, and what that takes."""
    estimate = estimate_full_rescoring(get_engine(), project.slug)
    if estimate is None:
        return
    seconds = estimate.seconds
    time = "" if seconds is None else f" It takes about {format_seconds(seconds)}."
    st.info(explain_full_rescoring(estimate) + time)


def _is_own(run: Run) -> bool:
    return needs_consent(run.config.get("model"))


def newest_training(project: Project) -> TrainingInfo | None:
    """Return the project's newest finished training, or None."""
    return find_newest_training(get_workspace(), project.slug)
