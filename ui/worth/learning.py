"""The queue that learns, on Overview: on and off, how it was judged, what it says."""

from __future__ import annotations

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run, list_runs
from relabel.text import counted
from relabel.triage.signals import LEARNED, name_signals
from relabel.worth.learned_order import Lesson, forget_order, learn_order, read_lesson
from tracin_core.errors import TracInError
from ui.failures import report_errors
from ui.session import current_reviewer, get_engine, get_workspace
from ui.wording import escape_markdown, percent

_MESSAGE = "learning-message"
WHY = (
    "What was decided can rank what is left. A share of the decisions has to come from random "
    "draws, one in five say: learned from the head of the queue alone, an order can get worse "
    "without anybody seeing it. The half of an audit that teaches is such a share. The learned "
    "order is taken only where it ranks those draws at least as well."
)

SCORED_SINCE = (
    "An earlier scoring ranked by a learned order; this one does not, because its signals are "
    "others. Learn from the decisions again."
)


def draw_learning(project: Project, run: Run) -> None:
    """Draw whether the queue has learned, and let a person have it learn or forget."""
    st.header("A queue that learns", anchor=False)
    if fault := st.session_state.pop(_MESSAGE, ""):
        st.warning(escape_markdown(fault))
    with report_errors(without="The rest of the page does without it."):
        lesson = read_lesson(run.config)
        is_on = LEARNED in run.signals
        if lesson is None:
            st.caption(WHY)
            if any(LEARNED in one.signals for one in list_runs(get_engine(), project.id, limit=5)):
                st.info(SCORED_SINCE)
        else:
            st.caption(escape_markdown(describe_lesson(lesson, is_on=is_on)))
            if is_on and lesson.weights:
                with st.expander("What it has learned", key="learned-weights"):
                    for line in lesson.weights:
                        st.text(line)
        with st.container(horizontal=True):
            st.button(
                "Learn again" if is_on else "Learn from the decisions",
                key="learn-order",
                on_click=_learn,
                args=(project, run),
            )
            st.button(
                "Rank as before",
                key="forget-order",
                disabled=not is_on,
                on_click=_forget,
                args=(run,),
            )


def describe_lesson(lesson: Lesson, *, is_on: bool) -> str:
    """Return how an order was judged and whether it ranks the queue."""
    base = name_signals([lesson.base])[lesson.base]
    judged = (
        f"Learned from {counted(lesson.num_decisions, 'decision')}, "
        f"{lesson.num_random:,} of them drawn at random. Of an error and a right label among those "
        f"it has the error first in {percent(lesson.learned)} of the cases, {base} in "
        f"{percent(lesson.static)}; judged by models that had not seen the draw."
    )
    if is_on:
        return f"{judged} So it ranks the queue."
    if lesson.is_taken:
        return f"{judged} It was taken away since; the queue is ranked as before."
    return f"{judged} So it was not taken, and the queue is ranked as before."


def _learn(project: Project, run: Run) -> None:
    try:
        folder = get_workspace().project_folder(project.slug)
        learn_order(get_engine(), folder, run.id, by=current_reviewer())
    except TracInError as error:
        st.session_state[_MESSAGE] = str(error)


def _forget(run: Run) -> None:
    try:
        forget_order(get_engine(), run.id, by=current_reviewer())
    except TracInError as error:
        st.session_state[_MESSAGE] = str(error)
