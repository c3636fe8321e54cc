"""Train examples that stand in nearly everybody's lists, and the choice to leave them out."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.runs.folder import RunFolder
from relabel.text import Layers, Split
from relabel.valuation.opponents import (
    RecurringExample,
    count_recurrence,
    find_recurring,
    spread_positions,
)
from ui.components.memory import recall, remember
from ui.inspect.evidence import Measure, get_evidence
from ui.session import run_folder

HIDE = "hide-recurring"
_COOKIE = "tracin_hide_recurring"
_CHANGED = "hide-recurring-changed"
# Fewer test examples than these represent nothing; train examples then stand in for them.
_LEAST_TEST = 20
MEANING = (
    "These stand among the 10 strongest proponents or opponents of a fifth of all examples or "
    "more, whatever is asked. They are often outliers with large gradients, or wrong labels: look "
    "at them, then leave them out, as they say little about any single one."
)


def find_recurring_examples(
    project: Project, run: Run, layers: Layers, measure: Measure
) -> list[RecurringExample]:
    """Return the train examples that recur in the lists of a representative set of examples."""
    return _find(project, run, run_folder(project, run), run.key, layers, measure)


@st.cache_resource(
    show_spinner="Looking at the lists of many examples",
    max_entries=16,
    hash_funcs={Project: lambda one: one.slug, Run: lambda one: one.id},
)
def _find(
    project: Project, run: Run, folder: Path, run_key: str, layers: Layers, measure: Measure
) -> list[RecurringExample]:
    """Search once a process; the key makes a new run a new entry."""
    counts = RunFolder(folder).read_config().counts
    split = choose_asked_split(counts["test"])
    recurrence = count_recurrence(
        get_evidence(project, run),
        split,
        spread_positions(range(counts[split])),
        num_train=counts["train"],
        layers=layers,
        measure=measure,
    )
    return find_recurring(recurrence)


def choose_asked_split(num_test: int) -> Split:
    """Return whose lists are looked at: the test examples', where there are enough of them."""
    return "test" if num_test >= _LEAST_TEST else "train"


def list_hidden(
    project: Project, run: Run, layers: Layers, measure: Measure, *, hides: bool
) -> frozenset[int]:
    """Return the positions of the train examples that lists leave out; none unless it is asked."""
    if not hides:
        return frozenset()
    found = find_recurring_examples(project, run, layers, measure)
    return frozenset(one.position for one in found)


def draw_hiding() -> bool:
    """Draw the choice whether lists leave out recurring train examples; the browser keeps it.

    Returns:
        Whether they are.
    """
    if HIDE not in st.session_state:
        st.session_state[HIDE] = recall(_COOKIE) == "yes"
    hides = st.toggle(
        "Hide recurring examples",
        key=HIDE,
        on_change=_note_change,
        persist_state="session",
        help=f"{MEANING} Hidden, they make room for the next ones. Value lists them.",
    )
    if st.session_state.get(_CHANGED):
        remember(_COOKIE, "yes" if hides else "no", key="remember-hiding")
    return bool(hides)


def _note_change() -> None:
    st.session_state[_CHANGED] = True
