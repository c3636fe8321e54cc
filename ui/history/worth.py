"""What the review was worth: the gain as a job with its result in words, and the report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from relabel.db.jobs import ACTIVE, Job, list_jobs
from relabel.db.project_rules import Project
from relabel.db.stats import review_progress
from relabel.db.team.reviewers import may_lead
from relabel.text import counted, shorten
from relabel.worth.gain.figures import Judged
from relabel.worth.gain.labels import count_events_after
from relabel.worth.gain.options import LEAST_SEEDS, MOST_SEEDS, USUAL_SEEDS
from relabel.worth.gain.saved import Gain, read_latest_gain
from relabel.worth.gain.words import (
    describe_gain,
    describe_headline,
    format_difference,
    format_level,
    list_doubts,
    name_measure,
)
from relabel.worth.report.figures import name_differences
from relabel.worth.report.write import make_report, make_slides
from ui.charts import MARGIN, draw_figure
from ui.runs.jobs import draw_ended, draw_running, watch_job
from ui.runs.work import start_work
from ui.session import current_reviewer, get_engine, get_workspace
from ui.wording import escape_markdown, moment_text

_HEIGHT = 220  # pixels
_ONLY_LEADS = "Only a lead takes the report away. Team says who leads."
_NAME_LENGTH = 40  # characters
# What is trained, and how long that takes.
_LEARNERS = {
    "head": "A quick linear model (seconds)",
    "network": "The project's network, from its beginning (as long as so many trainings)",
}


def draw_worth(project: Project) -> None:
    """Draw what the corrections gained, the way to measure it, and the report to take away."""
    st.header("What the review was worth", anchor=False)
    gain = read_latest_gain(get_workspace(), project.slug)
    job = next(iter(list_jobs(get_engine(), project.slug, limit=1)), None)
    if gain is not None:
        _draw_gain(project, gain)
    if job is not None and job.state in ACTIVE:
        _draw_active(job)
    elif job is not None and job.kind == "gain" and job.state != "succeeded":
        draw_ended(job)
    _draw_start(project, gain, is_busy=job is not None and job.state in ACTIVE)
    _draw_report(project)


def _draw_active(job: Job) -> None:
    with st.container(border=True):
        watch_job(job, draw_running)


def _draw_gain(project: Project, gain: Gain) -> None:
    change = gain.main.difference("given", "corrected")
    is_good = change.low > 0
    (st.success if is_good else st.info)(escape_markdown(describe_headline(gain)))
    later = count_events_after(get_engine(), project.id, gain.last_event)
    if later:
        have = "has" if later == 1 else "have"
        st.caption(
            f"{counted(later, 'decision')} {have} come since, which had no part in it. Measure "
            "again to count them."
        )
    for doubt in list_doubts(gain):
        st.warning(escape_markdown(doubt))
    with st.expander("How it was measured, and by class", key="gain-details"):
        for sentence in describe_gain(gain)[1:]:
            st.write(escape_markdown(sentence))
        _draw_differences(gain)
        if gain.main.classes:
            st.dataframe(
                _tabulate_classes(gain, gain.main),
                hide_index=True,
                key="gain-by-class",
                alt="What the corrections gained by class",
            )
        st.caption(f"Measured {moment_text(datetime.fromisoformat(gain.made_at))}.")


def _draw_differences(gain: Gain) -> None:
    rows = [(name, gain.main.difference(*pair)) for pair, name in name_differences()]
    factor = 100 if gain.measure == "accuracy" else 1
    figure = go.Figure(
        go.Scatter(
            x=[factor * one.mean for _, one in rows],
            y=[name for name, _ in rows],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [factor * (one.high - one.mean) for _, one in rows],
                "arrayminus": [factor * (one.mean - one.low) for _, one in rows],
            },
            mode="markers",
            marker={"size": 10},
            hovertemplate="%{y}: %{x:+.2f}<extra></extra>",
        )
    )
    unit = "percentage points" if gain.measure == "accuracy" else "units"
    figure.update_xaxes(title=f"{name_measure(gain)}, {unit}", zeroline=True)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(height=_HEIGHT, margin=MARGIN, showlegend=False)
    told = "; ".join(f"{name} {format_difference(gain, one.mean)}" for name, one in rows)
    draw_figure(figure, "gain-differences", alt=f"Differences with 95% intervals: {told}")


def _tabulate_classes(gain: Gain, judged: Judged) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Class": [shorten(gain.classes[one.label], _NAME_LENGTH) for one in judged.classes],
            "Test examples": [one.rows for one in judged.classes],
            "Right, as given": [format_level(gain, one.given) for one in judged.classes],
            "Right, random reviews": [format_level(gain, one.control) for one in judged.classes],
            "Right, as corrected": [format_level(gain, one.corrected) for one in judged.classes],
            "Gain": [format_difference(gain, one.difference.mean) for one in judged.classes],
            "95% interval": [
                f"{format_difference(gain, one.difference.low)} to "
                f"{format_difference(gain, one.difference.high)}"
                for one in judged.classes
            ],
        }
    )


def explain_nothing(project: Project) -> str:
    """Return why there is nothing to measure, with the way out; nothing where there is."""
    progress = review_progress(get_engine(), project.id)
    tested = review_progress(get_engine(), project.id, "test")
    if not tested.total:
        return (
            "The gain cannot be measured: the project has no test examples, on which a model could "
            "show what it has learned. Import a test split, or set a share apart for the test."
        )
    if not progress.reviewed:
        return (
            "The gain cannot be measured yet: no train example has been decided. Review some of "
            "the queue first."
        )
    return ""


def _draw_start(project: Project, gain: Gain | None, *, is_busy: bool) -> None:
    nothing = explain_nothing(project)
    if nothing:
        st.info(nothing)
        return
    if gain is None and not is_busy:
        st.caption(
            "Trains the same model on the labels as given, as corrected, and as after as many "
            "reviews of random examples, and compares them on the test examples."
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pressed = st.button(
            "Measure the gain" if gain is None else "Measure again",
            key="measure-gain",
            disabled=is_busy,
            help="The project is busy: one job at a time." if is_busy else None,
        )
        with st.popover("How", key="gain-how"):
            learner = st.radio(
                "What is trained",
                list(_LEARNERS),
                format_func=_LEARNERS.__getitem__,
                key="gain-learner",
            )
            seeds = st.number_input(
                "Trainings on each set of labels",
                min_value=LEAST_SEEDS,
                max_value=MOST_SEEDS,
                value=USUAL_SEEDS,
                key="gain-seeds",
                help="Each begins with other weights and takes the examples in another order.",
            )
    if pressed:
        start_work(project, "gain", {"learner": learner, "seeds": int(seeds)})


def _draw_report(project: Project) -> None:
    who = current_reviewer()  # a download runs outside of the page, which knows the person
    may = may_lead(get_engine(), who)
    help_text = None if may else _ONLY_LEADS
    is_empty = not review_progress(get_engine(), project.id).reviewed

    def make(how: Callable[..., bytes]) -> bytes:
        return how(get_engine(), get_workspace(), project.slug, asked_by=who)

    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Report",
            lambda: make(make_report),
            file_name=f"{project.slug}-report-{date.today()}.html",
            mime="text/html",
            key="report",
            on_click="ignore",
            disabled=not may,
            help=help_text,
        )
        st.download_button(
            "Figures for slides",
            lambda: make(make_slides),
            file_name=f"{project.slug}-figures-{date.today()}.zip",
            mime="application/zip",
            key="report-figures",
            on_click="ignore",
            disabled=not may or is_empty,
            help="Nothing has been decided yet." if may and is_empty else help_text,
        )
        st.caption(
            "One page for somebody who has not seen the review: what was found, how much is left, "
            "what it gained and how it was done. It opens without a network and prints on A4."
        )
