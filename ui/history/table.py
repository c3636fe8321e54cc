"""The list of events, and its filters."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from relabel.db.decisions.history import HistoryRow
from relabel.db.decisions.kinds import list_codes
from relabel.db.project_rules import Project
from relabel.db.stats import review_progress
from relabel.text import shorten
from ui.components.cards import Card, CardAction, Tag
from ui.fields import card_fields, row_of
from ui.inspect.events import describe_shown
from ui.labels import name_given, name_label
from ui.server.pictures import thumbnail_address
from ui.session import get_engine
from ui.wording import ACTION_WORDS

_EXCERPT = 160  # characters


@dataclass(frozen=True)
class HistoryView:
    """Which events to show."""

    reviewer: str | None
    actions: tuple[str, ...]
    text: str


EVERYTHING = HistoryView(reviewer=None, actions=(), text="")


def draw_history_filters(project: Project) -> HistoryView:
    """Draw the filters and return what they say."""
    reviewers = sorted(review_progress(get_engine(), project.id).reviewers)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        reviewer = st.selectbox(
            "Decided by",
            reviewers,
            index=None,
            placeholder="Everybody",
            key="by",
            bind="query-params",
            width=200,
        )
        actions = st.multiselect(
            "Decision",
            list(ACTION_WORDS),
            format_func=lambda name: ACTION_WORDS[name],
            key="actions",
            bind="query-params",
            placeholder="All",
            width=260,
        )
        text = st.text_input(
            "Note or text contains", key="note-contains", bind="query-params", width=220
        )
    return HistoryView(reviewer=reviewer, actions=tuple(actions), text=(text or "").strip())


def history_card(project: Project, row: HistoryRow) -> Card:
    """Return one event: what was decided on what, by whom, when, and the way back."""
    sentence = describe_event(project, row)
    return Card(
        id=row.example_id,
        label=f"{sentence}, by {row.reviewer}. Open the example.",
        image=thumbnail_address(row.example_id, row.key, row.media_path),
        alt=f"Train example with the given label {name_given(project, row)}",
        heading=f"{row.created_at.astimezone():%H:%M}",
        text=_excerpt(row),
        fields=card_fields(row_of(row.text, row.fields)),
        tags=(
            Tag(text=sentence, tone="plain" if row.undone else "decided"),
            *((Tag(text="undone"),) if row.undone else ()),
        ),
        meta=" · ".join(
            filter(
                None,
                (
                    row.reviewer,
                    f"{row.created_at.astimezone():%Y-%m-%d}",
                    "from a file" if row.source == "import" else "",
                    describe_shown(project, row),
                ),
            )
        ),
        action=(
            CardAction(
                label="Undo", description=f"Undo: {sentence}, by {row.reviewer}", token=str(row.id)
            )
            if row.undoable
            else None
        ),
    )


def describe_event(project: Project, row: HistoryRow) -> str:
    """Return what the event did to which label, in words."""
    given = name_given(project, row)
    if row.action in list_codes("correct"):
        return f"{given} → {name_label(project, row.new_label, row.new_value)}"
    return f"{ACTION_WORDS[row.action]} ({given})"


def _excerpt(row: HistoryRow) -> str | None:
    parts = [shorten(row.text, _EXCERPT)] if row.text else []
    if row.note:
        parts.append(f"Note: {row.note}")
    return " — ".join(parts) or None
