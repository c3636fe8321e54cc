"""Figures of a team: what each person has done, and how far the answers agree."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from relabel.db.team.reviewers import LEAD
from relabel.team.agreement import Agreement
from relabel.team.people import PersonFigures
from relabel.text import counted
from ui.wording import moment_text, percent

IDENTITY_WORDS = {
    "typed": "name typed",
    "account": "set for the server",
    "oidc": "signed in",
}
_LEAST = 20  # examples; of fewer, a kappa says little


def draw_people(people: Sequence[PersonFigures]) -> None:
    """Draw what each person has done."""
    if not people:
        st.caption("Nobody has decided anything yet.")
        return
    rows = [
        {
            "Name": one.name,
            "Identity": IDENTITY_WORDS[one.identity_source],
            "Role": "Lead" if one.role == LEAD else "Reviewer",
            "Decisions": one.decisions,
            "Corrected": percent(one.corrected / one.decisions),
            "Median seconds": one.seconds_median,
            "Answered twice": one.looked_twice,
            "Of these agreed": percent(one.agreed / one.looked_twice) if one.looked_twice else "–",
            "Last decision": moment_text(one.last_at),
        }
        for one in people
    ]
    st.dataframe(
        rows,
        hide_index=True,
        column_config={"Median seconds": st.column_config.NumberColumn(format="%.1f")},
        placeholder="–",
        alt="What each person has done",
        key="people",
    )


def draw_agreement(found: Agreement) -> None:
    """Draw how far those agree who have answered about the same examples."""
    if not found.count:
        st.caption(
            "No example has been answered by two people yet. Say above for what share a second "
            "answer is wanted; whoever reviews next is handed some of what others have decided."
        )
        return
    with st.container(horizontal=True):
        st.metric("Answered twice", f"{found.count:,}", border=True)
        st.metric("The same answer", percent(found.agreed / found.count), border=True)
        st.metric(
            "Fleiss’ kappa",
            kappa_text(found.kappa),
            border=True,
            help="Agreement beyond chance: 1 is perfect, 0 what chance alone would give. "
            "Fleiss 1971.",
        )
    if found.count < _LEAST:
        st.caption(f"Of {counted(found.count, 'example')} a kappa says little yet.")
    left, right = st.columns(2, gap="large")
    with left:
        st.dataframe(
            [
                {
                    "Two people": f"{one.first}, {one.second}",
                    "Examples": one.count,
                    "The same": percent(one.agreed / one.count),
                    "Cohen’s kappa": kappa_text(one.kappa),
                }
                for one in found.pairs
            ],
            hide_index=True,
            placeholder="–",
            alt="How far two people agree",
            key="pairs",
        )
    with right:
        st.dataframe(
            [
                {
                    "Answer": one.name,
                    "Given": one.given,
                    "Fleiss’ kappa": kappa_text(one.kappa),
                }
                for one in found.answers
            ],
            hide_index=True,
            placeholder="–",
            alt="How far people agree on each answer",
            key="answers",
        )


def kappa_text(kappa: float | None) -> str:
    """Return a kappa as it is read; where everybody gave one answer, it is undefined."""
    return "undefined" if kappa is None else f"{kappa:.2f}"
