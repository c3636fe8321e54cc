"""What was decided about many examples at once, each to be taken back as one."""

from __future__ import annotations

import secrets

import streamlit as st

from relabel.db.decisions.batches import Batch, list_batches, summarize_refused, undo_batch
from relabel.db.project_rules import Project
from relabel.text import counted
from tracin_core.errors import TracInError
from ui.session import current_reviewer, get_engine
from ui.wording import ACTION_WORDS, escape_markdown, moment_text

_MESSAGE = "batch-message"


def draw_batches(project: Project) -> None:
    """Draw the latest decisions that were made together and are in force; nothing without any."""
    batches = list_batches(get_engine(), project.id)
    message = st.session_state.pop(_MESSAGE, "")
    if message:
        st.info(escape_markdown(message))
    if not batches:
        return
    with st.expander(f"Decided together ({len(batches):,})", key="batches"):
        for batch in batches:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(escape_markdown(describe_batch(batch)))
                st.button(
                    f"Undo all {batch.in_force:,}",
                    key=f"undo-batch-{batch.token}",
                    on_click=_undo,
                    args=(project, batch.token),
                )


def describe_batch(batch: Batch) -> str:
    """Return what was decided together, by whom and when, in words."""
    rest = "" if batch.in_force == batch.size else f", {batch.in_force:,} of them in force"
    # What had the new label already was kept, so a batch may hold two kinds.
    deeds = " and ".join(ACTION_WORDS[one].lower() for one in batch.actions)
    return (
        f"{moment_text(batch.created_at)}, {batch.reviewer}: {deeds}, "
        f"{counted(batch.size, 'example')}{rest}"
    )


def _undo(project: Project, batch: str) -> None:
    """Take a batch back; for a widget's callback."""
    who = current_reviewer()
    try:
        result = undo_batch(
            get_engine(),
            project.id,
            batch,
            token=secrets.token_hex(16),
            reviewer=who.name,
            identity_source=who.source,
            source="history",
        )
    except TracInError as error:
        st.session_state[_MESSAGE] = str(error)
        return
    told = f"Taken back: {counted(len(result.recorded), 'decision')}."
    st.session_state[_MESSAGE] = " ".join(filter(None, [told, summarize_refused(result)]))
