"""The test split on the overview: how far its own review is, and what it says of the model."""

from __future__ import annotations

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.stats import MeasuredFit, measure_test
from relabel.text import counted, format_number
from ui.labels import is_regression
from ui.navigation import open_page
from ui.session import get_engine
from ui.wording import escape_markdown


def draw_test_labels(project: Project, run: Run) -> None:
    """Draw how many test labels are reviewed and what accuracy they measure; none without them."""
    fit = measure_test(get_engine(), run.id)
    if fit is None:
        return
    if not run.test_signals:
        st.caption(
            "The test labels can be reviewed, too, once the project is scored again on Runs."
        )
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Review the test labels", key="review-test"):
            open_page("queue", split="test")
        st.caption(escape_markdown(describe_test_labels(project, fit)))


def describe_test_labels(project: Project, fit: MeasuredFit) -> str:
    """Return in words what a review of the test labels has found so far."""
    if not fit.reviewed:
        return (
            f"None of {counted(fit.total, 'test example')} is reviewed. They are ranked and "
            "counted apart: what is wrong among them falsifies the measure of the model."
        )
    measure = "test error" if is_regression(project) else "test accuracy"
    by_given, by_current = (
        format_number(value) if is_regression(project) else f"{value:.1%}"
        for value in (fit.by_given, fit.by_current)
    )
    return (
        f"{fit.reviewed:,} of {counted(fit.total, 'test example')} reviewed, {fit.corrected:,} "
        f"corrected or excluded. By the given labels the {measure} is {by_given}, by the corrected "
        f"ones {by_current}."
    )
