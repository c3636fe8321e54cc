"""The examples that two people have answered differently, each settled with one press."""

from __future__ import annotations

from html import escape

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.team.opinions import AnswerPair, list_pairs
from relabel.team.agreement import name_answers
from relabel.team.settling import list_disagreements, settle
from relabel.text import counted, shorten
from tracin_core.errors import TracInError
from ui.labels import name_label
from ui.navigation import open_page
from ui.server.pictures import thumbnail_address
from ui.session import current_reviewer, get_engine
from ui.wording import escape_markdown

MOST_SHOWN = 20
_LONGEST_TEXT = 200  # characters
_FAULT = "settling-fault"


def draw_disagreements(project: Project, pairs: list[AnswerPair], *, may_settle: bool) -> None:
    """Draw what is to be settled, the oldest first.

    Args:
        project: Its classes name the answers.
        pairs: What each two have answered.
        may_settle: Whether the person who looks may.
    """
    if fault := st.session_state.pop(_FAULT, ""):
        st.warning(escape_markdown(fault))
    left = list_disagreements(pairs)
    if not left:
        st.caption("Nothing is to be settled.")
        return
    words = f"{counted(len(left), 'example')} to settle; until then the first answer is in force."
    st.caption(words if may_settle else f"{words} A lead settles.")
    for pair in left[:MOST_SHOWN]:
        _draw_pair(project, pair, may_settle)
    if len(left) > MOST_SHOWN:
        st.caption(f"{len(left) - MOST_SHOWN:,} more come after these.")


def _draw_pair(project: Project, pair: AnswerPair, may_settle: bool) -> None:
    first, second = _describe_answers(project, pair)
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        address = thumbnail_address(pair.example_id, pair.key, pair.media_path)
        given = name_label(project, pair.given_label, pair.given_value)
        if address is not None:
            # Of our own server, and looked up by its number.
            alt = f"Example {pair.example_id} with the given label {given}"
            st.html(f'<img src="{address}" width="80" alt="{escape(alt, quote=True)}">')
        if pair.text:
            st.text(shorten(pair.text, _LONGEST_TEXT), width=360)
        st.text(f"given {given}")
        for is_second, who, answer in ((False, pair.first, first), (True, pair.second, second)):
            st.button(
                escape_markdown(f"{who}: {answer}"),
                key=f"settle-{pair.example_id}-{pair.version}-{is_second}",
                disabled=not may_settle,
                on_click=_settle,
                args=(project.id, pair.example_id, pair.version, is_second),
            )
        if st.button("Inspect", key=f"look-{pair.example_id}", type="tertiary"):
            open_page("inspect", example=pair.example_id)


def _describe_answers(project: Project, pair: AnswerPair) -> tuple[str, str]:
    """Return both answers as they are told apart; for numbers by the number."""
    first, second = name_answers(project, pair)
    if pair.first_value is not None:
        first = name_label(project, None, pair.first_value)
    if pair.second_value is not None:
        second = name_label(project, None, pair.second_value)
    return first, second


def _settle(project_id: int, example_id: int, version: int, is_second: bool) -> None:
    """Settle what was on the screen; what is no longer open is said."""
    engine = get_engine()
    try:
        open_pairs = list_disagreements(list_pairs(engine, project_id))
        pair = next((one for one in open_pairs if one.example_id == example_id), None)
        if pair is None or pair.version != version:
            st.session_state[_FAULT] = "Somebody has settled or changed this one meanwhile."
            return
        settle(engine, pair, second=is_second, by=current_reviewer())
    except TracInError as error:
        st.session_state[_FAULT] = str(error)
