"""Decisions that come back from a file: what would become of them, and then they are recorded."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.team.reviewers import check_lead
from relabel.progress import Progress
from relabel.returned.apart import read_decisions_apart
from relabel.returned.plan import BRINGING, plan_decisions, record_decisions
from relabel.text import counted
from ui.failures import report_errors
from ui.session import current_reviewer, get_engine, reviewer_name
from ui.uploads import choose_file
from ui.wording import escape_markdown

_TYPES = ("csv", "parquet", "jsonl", "json")
_TOLD = "returned-told"


def draw_returned(project: Project) -> None:
    """Draw the choice of a file, what would become of its decisions, and the button."""
    told = st.session_state.pop(_TOLD, None)
    with st.expander("Bring decisions", expanded=told is not None, key="returned"):
        if told is not None:
            st.success("\n\n".join(map(escape_markdown, told)))
        st.caption(
            "An export that was changed elsewhere (CSV, Parquet, JSON Lines), or JSON of Label "
            "Studio. Nothing is recorded before you agree, and nothing twice."
        )
        path = choose_file(
            "decisions", "Path of the file", "/home/ada/labelled.json", _TYPES, unpack=False
        )
        over = st.toggle(
            "Also where it was decided otherwise here meanwhile",
            key="returned-over",
            help="Lays the file's decision on top; the one here stays in the history.",
        )
        if path is not None:
            with report_errors():
                check_lead(get_engine(), current_reviewer(), BRINGING)
                _draw_plan(project, path, over=bool(over))


def _draw_plan(project: Project, path: Path, *, over: bool) -> None:
    with st.spinner("Reading the decisions"):
        plan = plan_decisions(
            get_engine(), project, read_decisions_apart(path), reviewer=reviewer_name(), over=over
        )
    st.markdown("\n".join(_as_list(plan.report.describe())))
    if plan.new and st.button(
        f"Record {counted(len(plan.new), 'decision')}", type="primary", key="returned-record"
    ):
        bar = st.progress(0.0)

        def show(progress: Progress) -> None:
            bar.progress(progress.done / max(1, progress.total), progress.stage)

        report = record_decisions(get_engine(), plan, on_progress=show, asked_by=current_reviewer())
        st.session_state[_TOLD] = report.describe()
        st.rerun()


def _as_list(lines: list[str]) -> list[str]:
    return [
        f"{'  ' if line.startswith(' ') else ''}- {escape_markdown(line.strip())}" for line in lines
    ]
