"""Review: one suspect at a time, its evidence beside it, keys for everything."""

from __future__ import annotations

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from ui.examples import draw_example, draw_labels, draw_source_place
from ui.failures import report_errors
from ui.inspect.evidence import draw_evidence_options, draw_neighbours, draw_suggestion
from ui.inspect.unseen import choose_suggested, draw_unseen, explain_suggestion, read_answer
from ui.inspect.words import MARKING, WordMarks, start_marking
from ui.navigation import open_page
from ui.queue.filters import QueueView, describe_filters, draw_filters
from ui.review.decision_form import draw_form, draw_keys_without_example, draw_undo
from ui.review.decisions import draw_message, remember_shown
from ui.review.suspect import Suspect, choose_suspect, draw_keys, draw_place, rank_classes
from ui.runs.model_quality import draw_model_warnings
from ui.session import require_project, require_run
from ui.wording import escape_markdown

WATCHED = "suspect"
WITHOUT_EVIDENCE = "Decisions can be made without it."
# A side; texts take more room, and both sides should be on one screen.
_NEIGHBOURS = {"image": 6, "text": 4, "table": 4}
_NEIGHBOUR_IMAGE = 56  # CSS pixels


def draw_suspect(project: Project, run: Run, suspect: Suspect, told: set[str]) -> None:
    view = suspect.view
    remember_shown(view, run_id=run.id, source="queue", rank=suspect.rank, score=suspect.score)
    draw_labels(project, view)
    draw_source_place(view)
    answer, opponents, likeliest = None, None, list[int]()
    # Decisions need none of it, so a damaged run must not stop them.
    with report_errors(told, without=WITHOUT_EVIDENCE):
        answer = read_answer(project, run, view)
    said = st.container()  # above the opponents, who are asked first
    with report_errors(told, without=WITHOUT_EVIDENCE):
        suggestion = draw_suggestion(project, run, view)
        opponents = None if suggestion is None else suggestion.label
    with said:
        draw_unseen(project, view, answer, opponents=opponents)
    with report_errors(told, without=WITHOUT_EVIDENCE):
        likeliest = rank_classes(project, run, view)
    suggested = choose_suggested(view, answer)
    if explained := explain_suggestion(project, view, answer, suggested):
        st.caption(escape_markdown(explained))
    draw_form(
        project,
        view,
        suggested=suggested,
        opponents_label=opponents,
        likeliest=likeliest,
        watched=WATCHED,
    )


def draw_end(project: Project) -> None:
    st.success("Every example of this queue has been reviewed.")
    st.caption("Remove a filter, look at the history, or export the corrected labels.")
    draw_keys_without_example(project, WATCHED)


def draw_evidence(project: Project, run: Run, suspect: Suspect, words: WordMarks | None) -> None:
    layers, measure = draw_evidence_options(run)
    opened = draw_neighbours(
        project,
        run,
        suspect.view,
        layers=layers,
        measure=measure,
        count=_NEIGHBOURS.get(project.kind, 4),
        image_size=_NEIGHBOUR_IMAGE,
        layout="compact",
        key=f"review-{suspect.view.id}-{layers}-{measure}",
        words=words,
    )
    if opened is not None:
        open_page("inspect", example=opened)


def draw_content(project: Project, suspect: Suspect, words: WordMarks | None = None) -> None:
    pieces = () if words is None else words.pieces()
    following = suspect.following
    draw_example(project, suspect.view, key=WATCHED, following=following, pieces=pieces)
    if words is not None:
        st.caption(MARKING)


@st.fragment
def draw_review(project: Project, run: Run, queue: QueueView) -> None:
    told: set[str] = set()
    with report_errors(told):
        suspect = choose_suspect(project, run, queue)
        words = None if suspect is None else start_marking(project, run, suspect.view.text)
        left, right = st.columns(2, gap="large")
        with left:
            with st.container(horizontal=True, vertical_alignment="center"):
                draw_undo(project)
                draw_place(project, run, suspect)
            draw_message()
            if suspect is None:
                draw_end(project)
            else:
                slot = st.container()
                if words is None:
                    with slot:
                        draw_content(project, suspect)
                draw_suspect(project, run, suspect, told)
            draw_keys(project, run)
        with right, report_errors(told, without=WITHOUT_EVIDENCE):
            if suspect is not None:
                draw_evidence(project, run, suspect, words)
        if suspect is not None and words is not None:
            with slot:  # its words are marked by the evidence
                draw_content(project, suspect, words)


project = require_project()
st.title("Review", anchor=False)
run = require_run(project)
draw_model_warnings(project, run)
with st.expander(describe_filters(project, run), key="which-suspects"):
    queue = draw_filters(project, run, with_status=False)
draw_review(project, run, queue)
