"""The comparison as a job: which methods, how many examples, how far it is, how it ended."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from relabel.comparison.contenders import choose_contenders, list_contenders
from relabel.comparison.options import MOST_EXAMPLES, USUAL_EXAMPLES, CompareOptions
from relabel.comparison.saved import Comparison
from relabel.db.jobs import ACTIVE, list_jobs
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.text import Task
from ui.labels import is_regression
from ui.runs.jobs import draw_ended, draw_running, watch_job
from ui.runs.own_model import agree_to_network
from ui.runs.work import start_work
from ui.session import get_engine
from ui.wording import escape_markdown


def draw_work(project: Project) -> bool:
    """Draw the job that works on the project, or how a comparison failed.

    Returns:
        Whether the project is busy.
    """
    job = next(iter(list_jobs(get_engine(), project.slug, limit=1)), None)
    if job is None:
        return False
    if job.state in ACTIVE:
        with st.container(border=True):
            watch_job(job, draw_running)
        return True
    if job.kind == "compare" and job.state != "succeeded":
        draw_ended(job)
    return False


def draw_start(project: Project, run: Run, comparison: Comparison | None, *, is_busy: bool) -> None:
    """Draw what is to be compared, and the button that starts it."""
    task: Task = "regression" if is_regression(project) else "classification"
    known = list_contenders(task)
    usual = [one.name for one in choose_contenders((), task)]
    before = [] if comparison is None else [one.name for one in comparison.outcomes]
    with st.expander("What to compare", expanded=comparison is None, key="compare-what"):
        chosen = st.multiselect(
            "Methods and signals",
            list(known),
            default=[name for name in before if name in known] or usual,
            format_func=lambda name: known[name].title,
            key="compare-methods",
        )
        examples = st.number_input(
            "Examples whose proponents are compared",
            min_value=0,
            max_value=MOST_EXAMPLES,
            value=USUAL_EXAMPLES,
            key="compare-examples",
            help="Drawn at random from the test split, or from the train split without one.",
            width=320,
        )
        agreed = agree_to_network(run.config.get("model"), place="compare")
        pressed = st.button(
            "Compare" if comparison is None else "Compare again",
            type="primary" if comparison is None else "secondary",
            key="compare-start",
            disabled=is_busy or not chosen or not agreed,
            help="The project is busy: one job at a time." if is_busy else None,
        )
        st.caption(
            "Every method runs on the network and the last layer of the current run, one after "
            "the other. What an earlier comparison of the run has computed is not computed again."
        )
    if pressed:
        start_comparison(project, chosen, int(examples), agreed)


def start_comparison(
    project: Project,
    methods: Sequence[str],
    examples: int,
    agreed: str | bool,
    also: Sequence[int] = (),
) -> None:
    """Start the job and show it, or say why it cannot start."""
    options = CompareOptions(methods=tuple(methods), examples=examples, also=tuple(also))
    start_work(project, "compare", options.to_json() | {"run_my_code": agreed})


def draw_failures(comparison: Comparison) -> None:
    """Draw which methods do not suit this network, and why."""
    lines = [
        f"**{escape_markdown(one.title)}**: {escape_markdown(one.reason or one.unattributed)}"
        for one in comparison.outcomes
        if one.reason or one.unattributed
    ]
    if lines:
        with st.expander(f"Left out, wholly or in part: {len(lines)}", key="compare-failures"):
            for line in lines:
                st.caption(line)
