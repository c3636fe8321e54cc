"""The pairs of labels that contradict each other most, each a link to its examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.yields import Flow, Flows
from relabel.text import counted, shorten
from ui.navigation import make_page
from ui.wording import class_name, escape_markdown, isolate

_NAME_LENGTH = 22  # characters; two of them fit into half of a page, whose lines are cut

# By whom the given label is contradicted, as the queue's address names it.
Source = Literal["suggested", "predicted"]


def address_of(project: Project, source: Source, given: int, other: int) -> Mapping[str, str]:
    """Return what the queue's address says to show the examples of a pair."""
    return {
        "project": project.slug,
        "given": project.classes[given],
        source: project.classes[other],
    }


def draw_pairs(project: Project, source: Source, flows: Flows) -> None:
    """Draw the pairs, the most frequent ones first, and how many rare ones there are.

    Args:
        project: Its classes name the labels.
        source: By whom the given labels are contradicted.
        flows: The pairs.
    """
    if not flows.pairs:
        st.caption("No given label is contradicted.")
        return
    with st.container(gap="xsmall"):
        for flow in flows.pairs:
            st.page_link(
                make_page("queue"),
                label=_name(project, flow),
                help=_describe(project, source, flow),
                query_params=dict(address_of(project, source, flow.given, flow.other)),
            )
    if flows.num_rare:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                f"and {counted(flows.num_rare, 'rarer pair')} with "
                f"{counted(flows.rare, 'example')} together"
            )
            query = {"differs" if source == "suggested" else "disagrees": "true"}
            st.page_link(
                make_page("queue"),
                label="All that are contradicted",
                query_params={"project": project.slug, **query},
            )


def _name(project: Project, flow: Flow) -> str:
    """Return a line that fits: how many, how many are left, and the pair."""
    given, other = (
        escape_markdown(isolate(shorten(project.classes[label], _NAME_LENGTH)))
        for label in (flow.given, flow.other)
    )
    left = "all reviewed" if not flow.left else f"{flow.left:,} to review"
    return f"{flow.count:,}, {left} · **{given}** → **{other}**"


def _describe(project: Project, source: Source, flow: Flow) -> str:
    given, other = (
        escape_markdown(class_name(project.classes, label)) for label in (flow.given, flow.other)
    )
    left = "all reviewed" if not flow.left else f"{flow.left:,} to review"
    return f"given **{given}**, {source} **{other}**: {counted(flow.count, 'example')}, {left}"
