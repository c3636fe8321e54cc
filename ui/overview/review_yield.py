"""What the review has brought so far: its pace, errors by rank, flows of labels, who did what."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.stats import ReviewProgress
from relabel.db.yields import (
    LONGEST_LOOK,
    Flows,
    FoundByRank,
    Work,
    corrected_flows,
    errors_by_rank,
    work_by_class,
    work_by_reviewer,
)
from relabel.text import counted, format_seconds, shorten
from relabel.triage.signals import choose_default_signal
from ui.charts import MARGIN, draw_figure
from ui.labels import is_regression
from ui.session import get_engine
from ui.wording import escape_plotly, isolate, percent

_HEIGHT = 300  # pixels
_FLOW_HEIGHT = 26  # pixels that one flow takes
_LINK = "rgba(128, 128, 128, 0.2)"  # words can be read on it in both themes
_NAME_LENGTH = 24  # characters


def draw_yield(project: Project, run: Run, progress: ReviewProgress) -> None:
    """Draw what the decisions come to; nothing where there is none."""
    if not progress.decisions:
        return
    st.header("What the review has brought", anchor=False)
    reviewers = work_by_reviewer(get_engine(), project.id)
    _draw_figures(progress, reviewers)
    points = errors_by_rank(get_engine(), run.id, choose_default_signal(run.signals))
    flows = Flows(()) if is_regression(project) else corrected_flows(get_engine(), project.id)
    left, right = st.columns(2, gap="large")
    with left:
        _draw_errors(points)
    with right:
        _draw_flows(project, flows)
    _draw_tables(project, reviewers)


def _draw_figures(progress: ReviewProgress, reviewers: Sequence[Work]) -> None:
    found = sum(one.found for one in reviewers)
    timed = sum(one.total for one in reviewers)
    seconds = sum(one.seconds for one in reviewers)
    with st.container(horizontal=True):
        st.metric("Decided", f"{progress.reviewed:,}", border=True)
        st.metric(
            "Errors found",
            f"{found:,}",
            border=True,
            help="Examples that were relabelled or excluded.",
        )
        share = found / progress.reviewed if progress.reviewed else None
        st.metric("Errors among the decided", percent(share), border=True)
        st.metric("Left", f"{progress.total - progress.reviewed:,}", border=True)
        st.metric(
            "Decisions an hour",
            f"{3600 * timed / seconds:,.0f}" if seconds else "–",
            border=True,
            help="Of one person who looks at suspects. More than "
            f"{format_seconds(LONGEST_LOOK)} at one of them counts as a pause.",
        )


def _draw_errors(points: Sequence[FoundByRank]) -> None:
    st.markdown("**Errors found, from the top of the queue**")
    if not points:
        st.caption("Nothing that this run ranks has been decided yet.")
        return
    last = points[-1]
    figure = go.Figure(
        go.Scatter(
            x=[one.rank for one in points],
            y=[one.found / one.reviewed for one in points],
            customdata=[(one.found, one.reviewed) for one in points],
            mode="lines+markers" if len(points) < 3 else "lines",
            hovertemplate="first %{x:,} suspects: %{customdata[0]:,} errors among "
            "%{customdata[1]:,} reviewed (%{y:.0%})<extra></extra>",
        )
    )
    figure.update_xaxes(title="rank in the queue", rangemode="tozero", showgrid=False)
    figure.update_yaxes(title="errors among those reviewed", tickformat=".0%", range=[0, 1.05])
    figure.update_layout(height=_HEIGHT, margin=MARGIN, showlegend=False)
    alt = (
        f"Of the {last.reviewed:,} reviewed among the first {last.rank:,} suspects "
        f"{last.found:,} were errors"
    )
    draw_figure(figure, "errors-by-rank", alt=alt)
    st.caption(f"{alt}. Where the line has fallen low, going on brings little.")


def _draw_flows(project: Project, flows: Flows) -> None:
    st.markdown("**From the given label to the corrected one**")
    if not flows.pairs:
        what = "number" if is_regression(project) else "label"
        empty = "Numbers have no pairs." if is_regression(project) else f"No {what} corrected yet."
        st.caption(empty)
        return
    labels = list(dict.fromkeys(one.given for one in flows.pairs))
    others = list(dict.fromkeys(one.other for one in flows.pairs))
    names = [
        escape_plotly(isolate(shorten(project.classes[label], _NAME_LENGTH)))
        for label in [*labels, *others]
    ]
    figure = go.Figure(
        go.Sankey(
            node={"label": names, "pad": 10, "thickness": 12},
            link={
                "source": [labels.index(one.given) for one in flows.pairs],
                "target": [len(labels) + others.index(one.other) for one in flows.pairs],
                "value": [one.count for one in flows.pairs],
                "color": _LINK,
            },
            valueformat=",d",
        )
    )
    height = max(_HEIGHT, _FLOW_HEIGHT * max(len(labels), len(others)))
    figure.update_layout(height=height, margin=MARGIN)
    most = flows.pairs[0]
    alt = (
        f"Corrected labels; most often {project.classes[most.given]} became "
        f"{project.classes[most.other]}, {counted(most.count, 'time')}"
    )
    draw_figure(figure, "flows", alt=alt)
    if flows.num_rare:
        st.caption(
            f"The {len(flows.pairs)} most frequent pairs; {counted(flows.num_rare, 'other')} "
            f"with {counted(flows.rare, 'example')} together."
        )


def _draw_tables(project: Project, reviewers: Sequence[Work]) -> None:
    with st.expander("By reviewer and by class", key="by-reviewer-and-class"):
        st.dataframe(
            _tabulate(reviewers, "Reviewer", with_pace=True),
            hide_index=True,
            placeholder="–",
            key="by-reviewer",
            alt="What each reviewer has decided",
        )
        if not is_regression(project):
            st.dataframe(
                _tabulate(work_by_class(get_engine(), project.id), "Class", with_pace=False),
                hide_index=True,
                placeholder="–",
                key="by-class",
                alt="What has been decided about each class",
            )


def _tabulate(rows: Sequence[Work], title: str, *, with_pace: bool) -> pd.DataFrame:
    columns: dict[str, list[object]] = {title: [one.name for one in rows]}
    if not with_pace:
        columns["Train examples"] = [one.total for one in rows]
    columns |= {
        "Decided": [one.decided for one in rows],
        "Relabelled": [one.corrected for one in rows],
        "Excluded": [one.excluded for one in rows],
        "Errors among the decided": [
            percent(one.found / one.decided if one.decided else None) for one in rows
        ],
    }
    if with_pace:
        columns["Decisions an hour"] = [
            None if one.per_hour is None else round(one.per_hour) for one in rows
        ]
    return pd.DataFrame(columns)
