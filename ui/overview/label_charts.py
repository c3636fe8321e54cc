"""What the labels of a project are, and where the model contradicts them: classes or numbers."""

from __future__ import annotations

import numpy as np
import streamlit as st

from relabel.db.examples import find_by_positions
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.stats import class_balance, label_confusion, value_summary
from relabel.text import counted, format_number
from ui.charts import draw_class_balance, draw_confusion, draw_predictions, draw_value_histogram
from ui.labels import is_regression
from ui.session import get_engine
from ui.wording import escape_markdown

_POINTS = 1500  # train examples in the chart of predictions; more would hide each other


def draw_labels_held(project: Project) -> None:
    """Draw the labels of the train examples, as given and as they stand now."""
    if is_regression(project):
        _draw_values(project)
    else:
        _draw_balance(project)


def draw_disagreement(project: Project, run: Run) -> None:
    """Draw the given labels against the suggested ones, or else against the network's."""
    if is_regression(project):
        _draw_predictions(project, run)
    else:
        _draw_confusion(project, run)


def _draw_balance(project: Project) -> None:
    balance = [row for row in class_balance(get_engine(), project.id) if row.split == "train"]
    st.subheader("Labels of the train examples", anchor=False)
    draw_class_balance(
        [row.given for row in balance],
        [row.current for row in balance],
        project.classes,
        key="balance",
    )


def _draw_confusion(project: Project, run: Run) -> None:
    # A network that has learned the labels by heart contradicts none of them.
    counts = label_confusion(get_engine(), run.id, "train", suggested=True)
    if counts.any():
        st.subheader("Given label against the suggested one", anchor=False)
        draw_confusion(counts, project.classes, across="suggested", key="confusion")
        st.caption(
            "Train examples. Off the diagonal models that have not seen the example contradict its "
            "label."
        )
        return
    st.subheader("Given label against the model’s prediction", anchor=False)
    counts = label_confusion(get_engine(), run.id, "train")
    draw_confusion(counts, project.classes, across="predicted", key="confusion")
    st.caption(
        "Train examples, at the last checkpoint. Off the diagonal the model contradicts the label."
    )


def _draw_values(project: Project) -> None:
    summary = value_summary(get_engine(), project.id)
    st.subheader("Numbers of the train examples", anchor=False)
    draw_value_histogram(
        summary.edges,
        summary.given.histogram,
        summary.current.histogram,
        target=project.target,
        key="values",
    )
    if summary.beyond:
        least, greatest = summary.given.minimum, summary.given.maximum
        lie = "lies" if summary.beyond == 1 else "lie"
        st.caption(
            f"{counted(summary.beyond, 'number')} {lie} far beyond the chart; all numbers are from "
            f"{escape_markdown(format_number(least))} to "
            f"{escape_markdown(format_number(greatest))}."
        )


def _draw_predictions(project: Project, run: Run) -> None:
    st.subheader("Given number against the model’s prediction", anchor=False)
    given, predicted = _sample_predictions(project.id, run.id, run.num_ranked)
    beyond = draw_predictions(given, predicted, target=project.target, key="predictions")
    lie = "lies" if beyond == 1 else "lie"
    st.caption(
        f"{len(given):,} of {run.num_ranked:,} train examples, at the last checkpoint. Far from "
        "the line the model contradicts the number."
        + (
            f" {counted(beyond, 'of them', 'of them')} {lie} far beyond the chart."
            if beyond
            else ""
        )
    )


@st.cache_data(show_spinner=False, max_entries=16)
def _sample_predictions(
    project_id: int, run_id: int, total: int
) -> tuple[list[float], list[float]]:
    positions = np.unique(np.linspace(0, total - 1, min(total, _POINTS), dtype=int))
    views = find_by_positions(get_engine(), project_id, run_id, "train", positions.tolist())
    pairs = [
        (view.given_value, view.predicted_value)
        for view in views
        if view.given_value is not None and view.predicted_value is not None
    ]
    return [given for given, _ in pairs], [predicted for _, predicted in pairs]
