"""Which suspects are on the screen, derived from the database so that a reload loses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from relabel.db.decision_kinds import DECISION_KINDS
from relabel.db.decisions import last_undoable
from relabel.db.examples import ExampleView, get_example
from relabel.db.history import reviewers_since
from relabel.db.project_rules import Project
from relabel.db.queue import QueueFilter, describe_since, draw_next_suspects
from relabel.db.runs import Run, get_run
from relabel.db.stats import count_reviewed
from relabel.errors import InvalidDecisionError, NotFoundError
from relabel.runs.held_out import recall_summary
from relabel.text import Layers, Split
from ui.inspect.evidence import MEASURE_WORDS, Measure
from ui.labels import is_regression
from ui.queue.filters import filter_to_json, read_filter
from ui.review.choices import MAX_DIGIT_CLASSES
from ui.runs.layers import layers_of
from ui.session import get_engine, reviewer_name
from ui.wording import escape_markdown

_REQUESTED = "example"
_PINNED = "review-pinned"


@dataclass(frozen=True, kw_only=True)
class ReviewQuery:
    """Which suspects a screen asks for, and how their evidence is ranked.

    Attributes:
        project: Their project.
        run: Ranks them.
        signal: By which it does.
        filter: Which of them.
        layers: Whose gradients the evidence is by.
        measure: How the evidence is ranked.
    """

    project: Project
    run: Run
    signal: str
    filter: QueueFilter
    layers: Layers
    measure: Measure

    def to_json(self) -> dict[str, Any]:
        """Return what a screen sends with its questions."""
        return {
            "run": self.run.id,
            "signal": self.signal,
            **filter_to_json(self.filter),
            "layers": self.layers,
            "measure": self.measure,
        }


def read_query(project: Project, sent: Any) -> ReviewQuery:
    """Return the query that a screen sent, which may be anything.

    Raises:
        InvalidDecisionError: If it is none.
        NotFoundError: If its run is not of the project.
    """
    sent = sent if isinstance(sent, dict) else {}
    run_id = sent.get("run")
    run = get_run(get_engine(), run_id) if isinstance(run_id, int) else None
    if run is None or run.project_id != project.id:
        raise NotFoundError("The run of this page is gone. Reload the page.")
    signal, filter = sent.get("signal"), read_filter(sent)
    layers, measure = sent.get("layers"), sent.get("measure")
    is_sound = isinstance(signal, str) and measure in MEASURE_WORDS and layers in layers_of(run)
    if not is_sound or filter is None:
        raise InvalidDecisionError("The page asks for what this run does not have. Reload it.")
    return ReviewQuery(
        project=project,
        run=run,
        signal=str(signal),
        filter=filter,
        layers=layers,
        measure=measure,
    )


@dataclass(frozen=True)
class Suspect:
    """An example under review and its place in the queue.

    Attributes:
        view: The example.
        rank: 1 is the most suspect; None where it is not ranked.
        score: The signal's value.
    """

    view: ExampleView
    rank: int | None
    score: float | None


def choose_suspects(
    query: ReviewQuery, *, count: int, without: frozenset[int] = frozenset()
) -> list[Suspect]:
    """Return those that are to be decided next.

    Args:
        query: Which.
        count: At most so many.
        without: Ids of those that the screen has already.
    """
    drawn = draw_next_suspects(
        get_engine(),
        query.run.id,
        signal=query.signal,
        filter=query.filter,
        count=count,
        without=without,
    )
    return [Suspect(one.view, one.row.rank, one.row.score) for one in drawn]


def find_suspect(query: ReviewQuery, example_id: int) -> Suspect | None:
    """Return an example of the project that somebody asks for, whatever its state."""
    try:
        view = get_example(get_engine(), example_id, query.run.id)
    except NotFoundError:
        return None
    if view.project_id != query.project.id:
        return None
    score = view.scores.get(query.signal)
    return Suspect(view, None, None) if score is None else Suspect(view, score.rank, score.value)


def find_asked(query: ReviewQuery) -> Suspect | None:
    """Return the example that the address or an undo asks for.

    It stays in the address until it is decided; the screen then takes it out.
    """
    requested = st.query_params.get(_REQUESTED)
    if requested is None:
        st.session_state[_PINNED] = None
        return None
    is_number = requested.isdecimal() and len(requested) <= 18  # what a database can number
    found = find_suspect(query, int(requested)) if is_number else None
    pinned: tuple[int, int] | None = st.session_state.get(_PINNED)
    if found is None:
        st.warning(
            f"There is no example “{escape_markdown(requested[:40])}” in this project. "
            "The next suspect of the queue is shown instead."
        )
    elif pinned is not None and pinned[0] == found.view.id and pinned[1] != found.view.version:
        others = reviewers_since(get_engine(), found.view.id, pinned[1]) - {reviewer_name()}
        if others:
            told = describe_since(get_engine(), found.view, pinned[1])
            st.warning(
                escape_markdown(f"Meanwhile {told}. The queue goes on with the next suspect.")
            )
            found = None
    if found is None:
        st.session_state[_PINNED] = None
        st.query_params.pop(_REQUESTED, None)
        return None
    st.session_state[_PINNED] = (found.view.id, found.view.version)
    return found


def count_progress(project: Project, split: Split) -> dict[str, int]:
    """Return how far the review of a split is, as a screen keeps it."""
    reviewed, total = count_reviewed(get_engine(), project.id, split)
    return {"reviewed": reviewed, "total": total}


def offer_undo(project: Project, reviewer: str) -> int | None:
    """Return the number of a reviewer's newest decision in force, for a screen that knows none.

    A press takes back what was offered: others may decide, or decide under the same name, between
    the drawing and the press.
    """
    last = last_undoable(get_engine(), project.id, reviewer)
    return None if last is None else last.id


def list_keys(project: Project, run: Run) -> list[tuple[str, str]]:
    """Return each key of the review and what it does."""
    whose = "model’s" if recall_summary(run.config) is None else "suggested"
    what = "value" if is_regression(project) else "label"
    keys = [("Enter", "take the likeliest answer, which is the coloured button")]
    for kind in DECISION_KINDS:
        if kind.effect == "correct":
            keys.append(("M", f"take the {whose} {what}"))
            if is_regression(project):
                keys.append(("V or a digit", "type another value (Enter sets it, Esc leaves)"))
            else:
                many = len(project.classes) > MAX_DIGIT_CLASSES
                keys.append(("O", "take the opponents’ label"))
                keys.append(("digits", f"relabel{' to the likeliest classes' if many else ''}"))
                if many:
                    keys.append(("C", "search a class (Enter takes it, Esc leaves)"))
        else:
            keys.append((kind.key.upper(), kind.title.lower()))
    return [*keys, ("N", "write a note (Enter ends it)"), ("?", "show these keys")]
