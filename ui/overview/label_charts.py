"""What the labels of a project are, and where the model contradicts them: classes or numbers."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from relabel.db.examples import find_by_positions
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.stats import class_balance, label_confusion, value_summary
from relabel.db.yields import disputed_pairs
from relabel.text import counted, format_number
from ui.charts import (
    MOST_CLASSES,
    draw_class_balance,
    draw_confusion,
    draw_predictions,
    draw_value_histogram,
)
from ui.labels import is_regression
from ui.navigation import open_page
from ui.overview.pairs import Source, address_of, draw_pairs
from ui.session import get_engine
from ui.wording import escape_markdown

_PAIRS = 10  # that stand above the chart of all
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
    st.header("Labels of the train examples", anchor=False)
    given = [row.given for row in balance]
    many = len(given) > MOST_CLASSES
    largest = sorted(range(len(given)), key=lambda label: -given[label])[:MOST_CLASSES]
    clicked = draw_class_balance(
        given,
        [row.current for row in balance],
        project.classes,
        shown=sorted(largest),
        key="balance",
    )
    if many:
        rest = sum(given) - sum(given[label] for label in largest)
        st.caption(
            f"The {MOST_CLASSES} largest of {len(given):,} classes; the others have "
            f"{counted(rest, 'example')} together. All stand in the table by class below."
        )
    if clicked is not None:
        open_page("queue", given=project.classes[clicked])


def draw_most_disputed(project: Project, run: Run) -> None:
    """Draw which pairs of labels contradict each other most; numbers have none."""
    if is_regression(project):
        return
    st.header("Labels in dispute", anchor=False)
    source, counts = _count_pairs(run.id, run.created_at)
    who = "other models suggest" if source == "suggested" else "the network predicts"
    st.caption(
        f"Where {who} another label: how many examples, given label → the other one. Each "
        "line opens its examples."
    )
    flows = disputed_pairs(
        get_engine(), run.id, counts, suggested=source == "suggested", limit=_PAIRS
    )
    draw_pairs(project, source, flows)


@st.cache_data(show_spinner=False, max_entries=16)
def _count_pairs(run_id: int, registered: datetime) -> tuple[Source, NDArray[np.int64]]:
    """Return by whom labels are contradicted, and how often each meets each.

    A network that has learned the labels by heart contradicts none of them. No decision changes
    the counts, which all examples are read for; the moment tells one registration of a run from
    the next.
    """
    counts = label_confusion(get_engine(), run_id, "train", suggested=True)
    if counts.any():
        return "suggested", counts
    return "predicted", label_confusion(get_engine(), run_id, "train")


def _draw_confusion(project: Project, run: Run) -> None:
    source, counts = _count_pairs(run.id, run.created_at)
    if source == "suggested":
        st.header("Given label against the suggested one", anchor=False)
        says = "Suggested by models that have not seen the example."
    else:
        st.header("Given label against the model’s prediction", anchor=False)
        says = "Predicted by the network, at its last checkpoint."
    clicked = draw_confusion(counts, project.classes, across=source, key="confusion")
    which = ""
    if len(project.classes) > MOST_CLASSES:
        which = f" The {MOST_CLASSES} classes of {len(project.classes):,} that are in most dispute."
    st.caption(f"Train examples. {says}{which} A cell opens its examples in the queue.")
    if clicked is not None:
        open_page("queue", **address_of(project, source, *clicked))


def _draw_values(project: Project) -> None:
    summary = value_summary(get_engine(), project.id)
    st.header("Numbers of the train examples", anchor=False)
    clicked = draw_value_histogram(
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
    if clicked is not None:
        open_page("queue", **{"from": repr(clicked[0]), "to": repr(clicked[1])})


def _draw_predictions(project: Project, run: Run) -> None:
    st.header("Given number against the model’s prediction", anchor=False)
    given, predicted, examples = _sample_predictions(project.id, run.id, run.num_ranked)
    beyond, clicked = draw_predictions(
        given, predicted, examples, target=project.target, key="predictions"
    )
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
    if clicked is not None:
        open_page("inspect", example=clicked)


@st.cache_data(show_spinner=False, max_entries=16)
def _sample_predictions(
    project_id: int, run_id: int, total: int
) -> tuple[list[float], list[float], list[int]]:
    positions = np.unique(np.linspace(0, total - 1, min(total, _POINTS), dtype=int))
    views = find_by_positions(get_engine(), project_id, run_id, "train", positions.tolist())
    known = [
        (view.given_value, view.predicted_value, view.id)
        for view in views
        if view.given_value is not None and view.predicted_value is not None
    ]
    return [one[0] for one in known], [one[1] for one in known], [one[2] for one in known]
