"""Which suspect is on the screen, derived from the database so that a reload loses nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from relabel.db.decision_kinds import DECISION_KINDS
from relabel.db.examples import ExampleView, get_example
from relabel.db.project_rules import Project
from relabel.db.queue import draw_next_suspect
from relabel.db.runs import Run
from relabel.db.stats import count_reviewed
from relabel.errors import NotFoundError
from relabel.runs.folder import RunFolder
from relabel.runs.held_out import recall_summary
from ui.galleries import place
from ui.inspect.unseen import rank_unseen
from ui.labels import is_regression
from ui.queue.filters import QueueView
from ui.review.decision_form import MAX_DIGIT_CLASSES
from ui.review.decisions import report_decided_meanwhile, take_return
from ui.server.pictures import picture_address
from ui.session import get_engine, run_folder
from ui.wording import escape_markdown

_REQUESTED = "example"
_PINNED = "review-pinned"


@dataclass(frozen=True)
class Suspect:
    """The example under review and its place in the queue.

    Attributes:
        view: The example.
        rank: 1 is the most suspect; None where it is not ranked.
        score: The signal's value.
        percentile: 100 for the most suspect.
        following: Address of the picture that comes after it, or None.
    """

    view: ExampleView
    rank: int | None
    score: float | None
    percentile: float | None
    following: str | None


def choose_suspect(project: Project, run: Run, queue: QueueView) -> Suspect | None:
    """Return the suspect to show: the one asked for, one brought back, else the next one.

    An example that the address or an undo asks for stays on the screen, and in the address, until
    it is decided (its version changes); then the queue goes on by rank.
    """
    pinned = _pinned_example(project, run)
    if pinned is not None:
        score = pinned.scores.get(queue.signal)
        if score is None:
            return Suspect(pinned, None, None, None, None)
        return Suspect(pinned, score.rank, score.value, score.percentile, None)
    drawn = draw_next_suspect(get_engine(), run.id, signal=queue.signal, filter=queue.filter)
    if drawn is None:
        return None
    row, following = drawn.row, drawn.following
    picture = None
    if following is not None:
        picture = picture_address(following.example_id, following.key, following.media_path)
    return Suspect(drawn.view, row.rank, row.score, row.percentile, picture)


def _pinned_example(project: Project, run: Run) -> ExampleView | None:
    returned = take_return()
    if returned is not None:
        st.session_state[_PINNED] = returned
        st.query_params[_REQUESTED] = str(returned[0])
    requested = st.query_params.get(_REQUESTED)
    pinned: tuple[int, int] | None = st.session_state.get(_PINNED)
    if requested is not None and (pinned is None or str(pinned[0]) != requested):
        view = _find_requested(project, run, requested)
        pinned = None if view is None else (view.id, view.version)
    elif pinned is not None:
        view = get_example(get_engine(), pinned[0], run.id)
    else:
        view = None
    if view is not None and pinned is not None and view.project_id == project.id:
        if view.version == pinned[1]:
            st.session_state[_PINNED] = pinned
            return view
        report_decided_meanwhile(view, pinned[1])
    st.session_state[_PINNED] = None
    st.query_params.pop(_REQUESTED, None)
    return None


def _find_requested(project: Project, run: Run, requested: str) -> ExampleView | None:
    if requested.isdecimal() and len(requested) <= 18:  # what a database can number
        try:
            view = get_example(get_engine(), int(requested), run.id)
        except NotFoundError:
            view = None
        if view is not None and view.project_id == project.id and view.split == "train":
            return view
    st.warning(
        f"There is no train example “{escape_markdown(requested[:40])}” in this project. "
        "The next suspect of the queue is shown instead."
    )
    return None


def rank_classes(project: Project, run: Run, view: ExampleView) -> list[int]:
    """Return the likeliest classes, best first, where there are more than the digits can name."""
    if len(project.classes) <= MAX_DIGIT_CLASSES:
        return []
    probabilities = rank_unseen(project, run, view)
    if probabilities is None:
        folder = RunFolder(run_folder(project, run))
        probabilities = folder.read_probabilities(view.split, view.position)
    order = np.argsort(-probabilities, kind="stable")[:MAX_DIGIT_CLASSES]
    return [int(label) for label in order]


def draw_place(project: Project, run: Run, suspect: Suspect | None) -> None:
    """Draw where the suspect stands in the queue, and how far the review is."""
    reviewed, total = count_reviewed(get_engine(), project.id)
    done = f"{reviewed:,} of {total:,} reviewed"
    if suspect is None:
        st.caption(done)
    elif suspect.rank is None:
        st.caption(f"Not ranked in this run · {done}")
    else:
        where = f"Suspect {suspect.rank:,} of {run.num_ranked:,}, "
        st.caption(f"{where}{place(suspect.rank, run.num_ranked)} · {done}")


def draw_keys(project: Project, run: Run) -> None:
    """Draw the legend of the keyboard."""
    whose = "model’s" if recall_summary(run.config) is None else "suggested"
    kinds = [
        f"M or Enter take the {whose} {_describe_relabelling(project)}"
        if kind.effect == "correct"
        else f"{kind.key.upper()} {kind.title.lower()}"
        for kind in DECISION_KINDS
    ]
    st.caption(f"Keys: {', '.join(kinds)}, N write a note (Enter ends it).")


def _describe_relabelling(project: Project) -> str:
    if is_regression(project):
        return "value, V or a digit to type another (Enter sets it, Esc leaves)"
    if len(project.classes) > MAX_DIGIT_CLASSES:
        return "label, O the opponents’, the digits relabel to the likeliest classes"
    return "label, O the opponents’, the digits relabel"
