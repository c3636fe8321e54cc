"""When to stop, on Overview: the rule's sentence, what it promises, and what is promised."""

from __future__ import annotations

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.worth.stopping import Goal, read_goal, read_stop_state, set_goal
from tracin_core.errors import TracInError
from ui.failures import report_errors
from ui.session import get_engine
from ui.wording import escape_markdown
from ui.worth.standing import describe_left

_MESSAGE = "goal-message"
RECALLS, CONFIDENCES = (0.7, 0.8, 0.9, 0.95), (0.9, 0.95, 0.99)


def draw_stopping(project: Project, run: Run) -> None:
    """Draw how far the review is from where it may stop."""
    st.header("When to stop", anchor=False)
    if fault := st.session_state.pop(_MESSAGE, ""):
        st.warning(escape_markdown(fault))
    with report_errors(without="The rest of the page does without it."):
        state = read_stop_state(get_engine(), run.id)
        (st.success if state.is_met else st.info)(escape_markdown(state.sentence))
        st.caption(f"{describe_left(state)} {state.num_found:,} were found.")
        with st.container(horizontal=True):
            goal = read_goal(project.settings)
            recall = _choose("Of the errors", RECALLS, goal.recall, "stop-recall")
            confidence = _choose("Confidence", CONFIDENCES, goal.confidence, "stop-confidence")
            if (recall, confidence) != (goal.recall, goal.confidence):
                _keep(project, recall, confidence)
        with st.expander("What is promised, and what is not", key="stop-promise"):
            st.write(escape_markdown(state.promise))


def _choose(label: str, shares: tuple[float, ...], now: float, key: str) -> float:
    options = sorted({*shares, now})
    return st.selectbox(
        label,
        options,
        index=options.index(now),
        format_func=lambda share: f"{share:.0%}",
        key=key,
        width=160,
    )


def _keep(project: Project, recall: float, confidence: float) -> None:
    try:
        set_goal(get_engine(), project.id, Goal(recall, confidence))
    except TracInError as error:
        st.session_state[_MESSAGE] = str(error)
    st.rerun()
