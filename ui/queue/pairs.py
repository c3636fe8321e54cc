"""Groups of the queue by given and suggested label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from relabel.db.groups import LabelPair, list_pairs
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.stats import label_confusion
from relabel.text import Split
from ui.labels import is_regression, name_label
from ui.queue.filters import FILTER_KEYS, QueueView
from ui.session import get_engine, get_workspace
from ui.wording import escape_markdown

_SHOWN = 12  # pairs; a person goes through the largest first


def draw_pairs(project: Project, run: Run, pairs: Sequence[LabelPair]) -> None:
    """Draw the pairs with most examples left, each a way to its own queue."""
    with st.container(horizontal=True, gap="small"):
        for pair in pairs[:_SHOWN]:
            draw_pair(project, run, pair, key="pair")
    if len(pairs) > _SHOWN:
        st.caption(f"The largest of {len(pairs):,}; the filters above choose any other one.")


def read_pairs(project: Project, run: Run, view: QueueView) -> list[LabelPair]:
    """Return the pairs of a split; none for numbers."""
    if is_regression(project):
        return []
    split, suggested = view.filter.split, suggests_labels(run)
    database = get_workspace().database_url
    counts = _count_pairs(database, run.id, run.scoring_id, split, suggested)
    return list_pairs(get_engine(), run, split, suggested=suggested, counts=counts)


@st.cache_data(show_spinner=False, max_entries=32)
def _count_pairs(
    database: str, run_id: int, scoring_id: int, split: Split, suggested: bool
) -> NDArray[np.int64]:
    # All examples are read for it, and decisions do not change it.
    return label_confusion(get_engine(), run_id, split, suggested=suggested)


def show_all() -> None:
    """Take every filter off; for a widget's callback."""
    for key, nothing in FILTER_KEYS.items():
        if key in st.session_state:
            st.session_state[key] = nothing
    st.session_state["status"] = "pending"
    st.session_state["page"] = 1


def suggests_labels(run: Run) -> bool:
    """Return whether the other label is that of models which have not seen the example."""
    return bool(run.config.get("suggests_labels"))


def show_decided() -> None:
    """Show what has been decided; for a widget's callback."""
    st.session_state["status"] = "reviewed"
    st.session_state["page"] = 1


def _show_pair(project: Project, given: int, other: int, *, suggested: bool) -> None:
    show_all()
    st.session_state["given"] = [project.classes[given]]
    st.session_state["suggested" if suggested else "predicted"] = [project.classes[other]]


def draw_pair(project: Project, run: Run, pair: LabelPair, *, key: str) -> None:
    """Draw a pair as a button that leads to its queue; under the key "next" as what comes next."""
    is_next = key == "next"
    given = name_label(project, pair.given, None)
    other = name_label(project, pair.suggested, None)
    st.button(
        escape_markdown(f"{'Next: ' if is_next else ''}{given} → {other}: {pair.left:,}"),
        key=f"{key}-{pair.given}-{pair.suggested}",
        type="primary" if is_next else "secondary",
        help=escape_markdown(
            f"Given {given}, by the other label {other}: {pair.left:,} of {pair.total:,} left"
        ),
        on_click=_show_pair,
        args=(project, pair.given, pair.suggested),
        kwargs={"suggested": suggests_labels(run)},
    )
