"""The parts of the overview: figures, the next step, and how the run came about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pandas as pd
import streamlit as st

from relabel.db.decisions.kinds import PENDING, list_states
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.stats import ReviewProgress, median_error
from relabel.runs.config import CheckpointEntry, name_last_layer
from relabel.runs.folder import RunFolder
from relabel.text import Layers, counted, format_number, format_seconds, shorten
from relabel.triage.signals import choose_default_signal, name_signals
from ui.labels import is_regression
from ui.runs.layers import layers_of
from ui.session import get_engine, run_folder
from ui.wording import STATUS_WORDS, moment_text, percent


def count_decided(progress: ReviewProgress) -> int:
    """Return how many train examples have a verdict; a skipped one has none yet."""
    return progress.reviewed


def summarize(project: Project, run: Run, progress: ReviewProgress) -> None:
    """Draw the figures at the top of the page."""
    decided = count_decided(progress)
    pace = "–" if progress.seconds_median is None else format_seconds(progress.seconds_median)
    with st.container(horizontal=True):
        st.metric("Train examples", f"{progress.total:,}", border=True)
        _show_quality(project, run)
        st.metric("Reviewed", f"{decided:,}", border=True)
        st.metric(
            "Relabelled or excluded",
            f"{sum(progress.by_status[one] for one in list_states('correct', 'exclude')):,}",
            border=True,
        )
        st.metric("Median time a decision", pace, border=True)


def _show_quality(project: Project, run: Run) -> None:
    last = _read_checkpoints(project, run)[-1]
    if is_regression(project):
        st.metric(
            "Typical test error",
            format_number(_find_median_error(run.id, run.created_at)),
            border=True,
            help="Half of the test examples are predicted nearer than this: the median absolute "
            "error at the run’s last checkpoint, in the number’s own unit. A few wild numbers "
            "change nothing.",
        )
        st.metric(
            "Test RMSE",
            format_number(last.test_rmse),
            border=True,
            help="Root of the mean squared error, in the number’s own unit. A single number that "
            "is wildly wrong makes it large.",
        )
        st.metric("Explained variance", percent(last.test_r2), border=True)
        return
    st.metric("Classes", f"{len(project.classes):,}", border=True)
    st.metric(
        "Test accuracy",
        percent(last.test_accuracy),
        border=True,
        help="At the last checkpoint of the run.",
    )


@st.cache_data(show_spinner=False, max_entries=16)
def _find_median_error(run_id: int, registered: datetime) -> float | None:
    """Return it from a cache; the moment tells one registration of a run from the next."""
    return median_error(get_engine(), run_id)


def _read_checkpoints(project: Project, run: Run) -> tuple[CheckpointEntry, ...]:
    return RunFolder(run_folder(project, run)).read_config().checkpoints


def draw_next_step(progress: ReviewProgress) -> bool:
    """Draw the progress of the review and its next step.

    Returns:
        Whether the person wants to go on reviewing.
    """
    decided = count_decided(progress)
    states = [
        f"{count:,} {STATUS_WORDS[status].lower()}"
        for status, count in progress.by_status.items()
        if count and status != PENDING
    ]
    share = decided / progress.total if progress.total else 0.0
    st.progress(share, text=f"{decided:,} of {progress.total:,} reviewed ({percent(share)})")
    with st.container(horizontal=True, vertical_alignment="center"):
        label = "Start the review" if not decided else "Go on with the review"
        pressed = st.button(label, type="primary", key="start-review")
        st.caption(", ".join(states) if states else "Nothing decided yet.")
    return pressed


def describe_run(project: Project, run: Run) -> None:
    """Draw how the run was made: layers, rates, vectors, and its checkpoints."""
    config = run.config
    last = name_last_layer(config.get("layers"))
    rates = {"ones": "ignored (every checkpoint counts the same)", "recorded": "as recorded"}
    facts = {
        "Queue ranked by": next(iter(name_signals([choose_default_signal(run.signals)]).values())),
        "Last layer": shorten(", ".join(last) or "not recorded", 80),
        "Learning rates in the evidence": rates.get(str(config.get("rates")), "–"),
        "All-layer vectors": _describe_vectors(run, "all"),
        "Last-layer vectors": _describe_vectors(run, "last"),
        "Scored": moment_text(run.created_at),
    }
    columns = st.columns(2, gap="large")
    with columns[0]:
        for name, value in facts.items():
            st.text(f"{name}: {value}")
    with columns[1]:
        st.dataframe(
            _tabulate(project, _read_checkpoints(project, run)),
            hide_index=True,
            column_config={
                "Learning rate": st.column_config.NumberColumn(format="%.4g"),
                "Train loss": st.column_config.NumberColumn(format="%.3f"),
                "Test accuracy": st.column_config.NumberColumn(format="percent"),
                "Test RMSE": st.column_config.NumberColumn(format="%.6g"),
            },
            alt="The checkpoints of the run",
            placeholder="–",
            key="checkpoints",
        )


def _describe_vectors(run: Run, layers: Layers) -> str:
    if layers not in layers_of(run):
        return "none, the last layer alone was scored"
    entry = (run.config.get("projection") or {}).get(layers)
    if entry:
        return f"projected to {counted(int(entry['dim']), 'number')}"
    numbers = int(run.config.get("last_numbers") or 0)
    return f"exact, {counted(numbers, 'number')}" if numbers and layers == "last" else "exact"


def _tabulate(project: Project, checkpoints: Sequence[CheckpointEntry]) -> pd.DataFrame:
    regression = is_regression(project)
    quality = [one.test_rmse if regression else one.test_accuracy for one in checkpoints]
    return pd.DataFrame(
        {
            "Epoch": [one.epoch for one in checkpoints],
            "Step": [one.step for one in checkpoints],
            "Learning rate": [one.learning_rate for one in checkpoints],
            "Train loss": [one.train_loss for one in checkpoints],
            "Test RMSE" if regression else "Test accuracy": quality,
        }
    )
