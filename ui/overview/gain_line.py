"""What the review gained, in a sentence, with the way to measure it and to the report."""

from __future__ import annotations

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.stats import ReviewProgress
from relabel.worth.gain.saved import read_latest_gain
from relabel.worth.gain.words import describe_headline
from ui.navigation import open_page
from ui.session import get_workspace
from ui.wording import escape_markdown


def draw_gain_line(project: Project, progress: ReviewProgress) -> None:
    """Draw the gain that was measured last, or that none was; nothing before a decision."""
    if not progress.reviewed:
        return
    gain = read_latest_gain(get_workspace(), project.slug)
    told = (
        "What the corrections gain has not been measured yet."
        if gain is None
        else describe_headline(gain)
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(escape_markdown(told), width="content")
        title = "Measure the gain" if gain is None else "Gain and report"
        if st.button(title, key="to-gain"):
            open_page("history")
