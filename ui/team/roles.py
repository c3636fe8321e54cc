"""Who leads, and for how many examples a second answer is wanted."""

from __future__ import annotations

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.team.reviewers import (
    IDENTITY_SOURCES,
    LEAD,
    REVIEWER,
    Identity,
    IdentitySource,
    Role,
    any_lead,
    list_reviewers,
    set_role,
)
from relabel.db.team.second_looks import count_waiting, read_wish, set_share
from relabel.text import counted
from tracin_core.errors import TracInError
from ui.identity import needs_sign_in
from ui.session import current_reviewer, get_engine
from ui.team.figures import IDENTITY_WORDS
from ui.wording import escape_markdown

_FAULT = "team-fault"


def draw_fault() -> None:
    """Say why the last press did nothing, if it did nothing."""
    if fault := st.session_state.pop(_FAULT, ""):
        st.warning(escape_markdown(fault))


def describe_trust() -> str:
    """Return what the names on this page are worth."""
    if needs_sign_in():
        return "People sign in here: what is recorded carries the account that signed in."
    return (
        "Names are attribution, not authentication: whoever reaches this server can type any name, "
        "a lead’s too. Sign-in by OpenID Connect changes that; docs/team.md says how."
    )


def draw_share(project: Project, *, may_lead: bool) -> None:
    """Draw for what share of the examples a second answer is wanted."""
    wish = read_wish(project.settings)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.number_input(
            "Percent of the decided examples that a second person answers, too",
            min_value=0,
            max_value=100,
            value=round(100 * wish.share),
            step=5,
            key=f"share-{project.slug}",
            disabled=not may_lead,
            width=420,
        )
        st.button(
            "Set",
            key="set-share",
            disabled=not may_lead or round(100 * wish.share) == chosen,
            on_click=_set_share,
            args=(project.id, chosen / 100),
        )
    if wish.share:
        waiting = counted(count_waiting(get_engine(), project.id), "example")
        st.caption(
            f"{waiting} waiting for a second person. Which ones those are follows from the seed "
            f"{wish.seed}, so that anybody can check it. The second person sees nothing of the "
            "first answer, which stays in force."
        )


def _set_share(project_id: int, share: float) -> None:
    try:
        set_share(get_engine(), project_id, share, by=current_reviewer())
    except TracInError as error:
        st.session_state[_FAULT] = str(error)


def draw_roles(*, may_lead: bool) -> None:
    """Draw who leads, and let a lead say so of others.

    Args:
        may_lead: Whether the person who looks may give roles.
    """
    engine, me = get_engine(), current_reviewer()
    is_led = any_lead(engine)
    if not is_led:
        st.caption(
            "There is no lead, so everybody may undo others’ decisions, settle and export. With a "
            "lead only leads may."
        )
        if me.key:
            st.button(
                "Make me the lead", key="lead-me", on_click=_give, args=(me.name, me.source, LEAD)
            )
    sources: dict[str, IdentitySource] = {one: one for one in IDENTITY_SOURCES}
    people = list_reviewers(engine)
    for one in people:
        other: Role = REVIEWER if one.role == LEAD else LEAD
        with st.container(horizontal=True, vertical_alignment="center"):
            role = "Lead" if one.role == LEAD else "Reviewer"
            st.text(f"{one.name} · {IDENTITY_WORDS[one.identity_source]} · {role}", width=360)
            # Without a lead one's own button stands above.
            if not is_led and Identity(one.name, sources[one.identity_source]).holder == me.holder:
                continue
            st.button(
                "Make a reviewer" if other == REVIEWER else "Make a lead",
                key=f"role-{one.id}",
                disabled=not may_lead,
                on_click=_give,
                args=(one.name, one.identity_source, other),
            )


def _give(name: str, source: str, role: Role) -> None:
    known: dict[str, IdentitySource] = {one: one for one in IDENTITY_SOURCES}
    try:
        set_role(get_engine(), name, role, identity_source=known[source], by=current_reviewer())
    except TracInError as error:
        st.session_state[_FAULT] = str(error)
