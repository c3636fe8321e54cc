"""The list of events, its filters, and the corrected labels to take away."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import streamlit as st

from relabel.db.decision_kinds import list_codes
from relabel.db.history import HistoryRow
from relabel.db.project_rules import Project
from relabel.db.reviewers import may_lead
from relabel.db.runs import current_run
from relabel.db.stats import review_progress
from relabel.errors import RunFolderError
from relabel.export import export_labels
from relabel.exporters.registry import EXPORTERS
from relabel.runs.held_out import HeldOut
from relabel.text import shorten
from ui.components.cards import Card, CardAction, Tag
from ui.fields import card_fields
from ui.inspect.unseen import get_held_out
from ui.labels import name_given, name_label
from ui.server.pictures import thumbnail_address
from ui.session import current_reviewer, get_engine
from ui.wording import ACTION_WORDS, segment_words

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
        fields=card_fields(row.fields),
        tags=(
            Tag(text=sentence, tone="plain" if row.undone else "decided"),
            *((Tag(text="undone"),) if row.undone else ()),
        ),
        meta=f"{row.reviewer} · {row.created_at.astimezone():%Y-%m-%d}",
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


def draw_export(project: Project) -> None:
    """Draw the choice of format and the download.

    The file is made when the button is pressed, so it holds what stands in the database then,
    and not what stood there when the page was drawn.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.segmented_control(
            "Corrected labels",
            list(EXPORTERS),
            format_func=lambda name: segment_words(EXPORTERS[name].title),
            default=next(iter(EXPORTERS)),
            required=True,
            key="export-format",
        )
        exporter = EXPORTERS[chosen or next(iter(EXPORTERS))]
        reviewed_only = st.toggle(
            "Reviewed examples only",
            key="export-reviewed",
            help="Otherwise every example is in the file, with the label as it stands now.",
        )

        who = current_reviewer()
        may_export = may_lead(get_engine(), who)

        def make_file() -> bytes:
            return export_labels(
                get_engine(),
                project.id,
                format=exporter.name,
                reviewed_only=bool(reviewed_only),
                held_out=_open_suggestions(project),
                asked_by=who,
            )

        st.download_button(
            "Export",
            make_file,
            file_name=f"{project.slug}-labels-{date.today():%Y-%m-%d}.{exporter.extension}",
            mime=exporter.mime,
            type="primary",
            key="export",
            on_click="ignore",
            disabled=not may_export,
            help=None if may_export else "Only a lead exports. Team says who leads.",
        )
    st.caption(_describe_changes())


def _open_suggestions(project: Project) -> HeldOut | None:
    """Return what models of the current run suggest; None where there is nothing to read.

    The corrected labels are what an export is for; Review and Inspect say what is damaged.
    """
    run = current_run(get_engine(), project.id)
    try:
        return None if run is None else get_held_out(project, run)
    except RunFolderError:
        return None


def _describe_changes() -> str:
    """Return in words what each format does to texts."""
    words = [f"in the {one.title}, {one.changes}" for one in EXPORTERS.values() if one.changes]
    *most, last = [one.title for one in EXPORTERS.values() if not one.changes]
    verb = "hold" if most else "holds"
    lossless = f"{', '.join(most)} and {last}" if most else last
    sentence = "; ".join([*words, f"{lossless} {verb} the texts as they are."])
    return sentence[0].upper() + sentence[1:]
