"""The history of one example: every event, on which evidence, and what is in force."""

from __future__ import annotations

import streamlit as st

from relabel.db.decisions.history import HistoryRow, fetch_events
from relabel.db.decisions.recording import describe
from relabel.db.project_rules import Project
from relabel.text import counted
from relabel.triage.signals import name_signals
from ui.labels import is_regression, name_label
from ui.session import get_engine
from ui.wording import escape_markdown, percent, score_text


def describe_shown(project: Project, row: HistoryRow) -> str:
    """Return what was shown when an event was made; "" where nothing of it is known."""
    parts = []
    if row.rank is not None:
        by = "" if row.signal is None else f" by {name_signals([row.signal])[row.signal].lower()}"
        score = "" if row.score is None else f", score {score_text(row.score)}"
        parts.append(f"suspect {row.rank:,}{by}{score}")
    suggested = row.suggested_value if is_regression(project) else row.suggested_label
    if suggested is not None:
        name = name_label(project, row.suggested_label, row.suggested_value)
        chance = row.suggested_probability
        parts.append(f"suggested {name}" + (f" {percent(chance)}" if chance is not None else ""))
    return ", ".join(parts)


def describe_change(project: Project, row: HistoryRow) -> str:
    """Return the answer before and after an event; "" where it stayed or is not known."""
    before = name_label(project, row.label_before, row.value_before)
    after = name_label(project, row.label_after, row.value_after)
    known = row.value_after if is_regression(project) else row.label_after
    return "" if known is None or before == after else f"{before} → {after}"


def draw_events(project: Project, example_id: int) -> None:
    """Draw all events of an example, the newest first; nothing where there are none."""
    rows = fetch_events(get_engine(), example_id)
    if not rows:
        return
    with st.expander(f"History of this example: {counted(len(rows), 'event')}"):
        st.markdown("\n".join(_line(project, row) for row in reversed(rows)))


def _line(project: Project, row: HistoryRow) -> str:
    told = escape_markdown(describe(row, project.classes))
    if row.undone:
        told = f"~~{told}~~ undone"
    elif row.undoable:
        told = f"**{told}**, in force"
    stated = f"stated as {row.stated_at:%Y-%m-%d %H:%M} UTC" if row.stated_at is not None else ""
    more = [
        describe_change(project, row),
        describe_shown(project, row),
        f"note: {row.note}" if row.note else "",
        "from a file" if row.source == "import" else "",
        stated,
    ]
    said = " · ".join(" ".join(part.split()) for part in more if part)
    return f"- {told}" + (f"  \n  {escape_markdown(said)}" if said else "")
