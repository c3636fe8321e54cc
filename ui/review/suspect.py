"""Which suspects are on the screen, derived from the database so that a reload loses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from relabel.db.decisions.history import reviewers_since
from relabel.db.decisions.kinds import DECISION_KINDS
from relabel.db.decisions.recording import last_undoable
from relabel.db.examples import ExampleView, get_example
from relabel.db.project_rules import Project
from relabel.db.queue import QueueFilter, describe_since
from relabel.db.runs import Run, get_run
from relabel.db.stats import count_reviewed
from relabel.db.team.handing_out import Screen, hand_out, hide_first_answer
from relabel.db.team.reviewers import Identity
from relabel.db.team.second_looks import find_look, read_wish
from relabel.errors import InvalidDecisionError, NotFoundError
from relabel.runs.held_out import recall_summary
from relabel.text import Layers, Split
from ui.inspect.evidence import MEASURE_WORDS, Measure
from ui.labels import is_regression
from ui.queue.filters import filter_to_json, read_filter
from ui.review.choices import MAX_DIGIT_CLASSES
from ui.runs.layers import layers_of
from ui.session import get_engine
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
        hides: Whether the evidence leaves out recurring train examples.
    """

    project: Project
    run: Run
    signal: str
    filter: QueueFilter
    layers: Layers
    measure: Measure
    hides: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what a screen sends with its questions."""
        return {
            "run": self.run.id,
            "signal": self.signal,
            **filter_to_json(self.filter),
            "layers": self.layers,
            "measure": self.measure,
            "hides": self.hides,
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
        hides=sent.get("hides") is True,
    )


@dataclass(frozen=True)
class Suspect:
    """An example under review and its place in the queue.

    Attributes:
        view: The example.
        rank: 1 is the most suspect; None where it is not ranked.
        score: The signal's value.
        look: The first answer, which the person is to give a second one to and must not know; None
            where a first one is wanted.
        ticket: What an answer to an audit's item is known by; else "".
    """

    view: ExampleView
    rank: int | None
    score: float | None
    look: int | None = None
    ticket: str = ""


@dataclass(frozen=True)
class Chosen:
    """What a screen is handed.

    Attributes:
        suspects: In their order.
        with_others, unheld: As `Handed` has them.
    """

    suspects: list[Suspect]
    with_others: int = 0
    unheld: str = ""


def choose_suspects(
    query: ReviewQuery, screen: Screen, *, count: int, without: frozenset[int] = frozenset()
) -> Chosen:
    """Return those that are to be decided next.

    Args:
        query: Which.
        screen: For whom, and where they will be shown.
        count: At most so many.
        without: Ids of those that the screen has already.
    """
    handed = hand_out(
        get_engine(),
        query.run.id,
        screen,
        signal=query.signal,
        filter=query.filter,
        count=count,
        without=without,
        second_looks=read_wish(query.project.settings).share > 0,
    )
    suspects = [
        Suspect(one.view, one.row.rank, one.row.score, one.look, one.ticket)
        for one in handed.suspects
    ]
    return Chosen(suspects, handed.with_others, handed.unheld)


def find_suspect(query: ReviewQuery, example_id: int, who: Identity) -> Suspect | None:
    """Return an example of the project that somebody asks for, whatever its state.

    Of one that the person is to look at as the second one, nothing of the first answer comes along.
    """
    try:
        view = get_example(get_engine(), example_id, query.run.id)
    except NotFoundError:
        return None
    if view.project_id != query.project.id:
        return None
    look = None
    if read_wish(query.project.settings).share > 0:
        look = find_look(get_engine(), view.id, who)
    shown = view if look is None else hide_first_answer(view)
    score = view.scores.get(query.signal)
    if score is None:
        return Suspect(shown, None, None, look)
    return Suspect(shown, score.rank, score.value, look)


def find_asked(query: ReviewQuery, who: Identity) -> Suspect | None:
    """Return the example that the address or an undo asks for.

    It stays in the address until it is decided; the screen then takes it out.
    """
    requested = st.query_params.get(_REQUESTED)
    if requested is None:
        st.session_state[_PINNED] = None
        return None
    is_number = requested.isdecimal() and len(requested) <= 18  # what a database can number
    found = find_suspect(query, int(requested), who) if is_number else None
    pinned: tuple[int, int] | None = st.session_state.get(_PINNED)
    if found is None:
        st.warning(
            f"There is no example “{escape_markdown(requested[:40])}” in this project. "
            "The next suspect of the queue is shown instead."
        )
    elif pinned is not None and pinned[0] == found.view.id and pinned[1] != found.view.version:
        others = reviewers_since(get_engine(), found.view.id, pinned[1]) - {who.key}
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


def offer_undo(project: Project, who: Identity) -> int | None:
    """Return the number of a reviewer's newest decision in force, for a screen that knows none.

    A press takes back what was offered: others may decide, or decide under the same name, between
    the drawing and the press.
    """
    last = last_undoable(get_engine(), project.id, who.name)
    return None if last is None else last.id


def list_keys(project: Project, run: Run) -> list[tuple[str, str]]:
    """Return each key of the review and what it does; single letters may be changed by a person."""
    whose = "model’s" if recall_summary(run.config) is None else "suggested"
    return _list_keys(
        whose,
        of_numbers=is_regression(project),
        of_many=len(project.classes) > MAX_DIGIT_CLASSES,
        of_pictures=project.kind == "image",
    )


def list_other_keys(project: Project, run: Run) -> list[tuple[str, str]]:
    """Return the keys that do something in projects of other kinds, and what."""
    own = {key for key, _ in list_keys(project, run)}
    others = _list_keys("suggested", of_numbers=True, of_many=False, of_pictures=True)
    others += _list_keys("suggested", of_numbers=False, of_many=True, of_pictures=True)
    return list({key: (key, what) for key, what in others if key not in own}.values())


def _list_keys(
    whose: str, *, of_numbers: bool, of_many: bool, of_pictures: bool
) -> list[tuple[str, str]]:
    keys = [("Enter", "take the likeliest answer, which is the coloured button")]
    for kind in DECISION_KINDS:
        if kind.effect != "correct":
            keys.append((kind.key.upper(), kind.title.lower()))
            continue
        keys.append(("M", f"take the {whose} {'value' if of_numbers else 'label'}"))
        if of_numbers:
            keys.append(("P", "move the decimal point, where that meets the model (×10, ÷10)"))
            keys.append(("V", "type another value (Enter sets it, Esc leaves)"))
            keys.append(("digits", "begin another value"))
            continue
        keys.append(("O", "take the opponents’ label"))
        keys.append(("digits", f"relabel{' to the likeliest classes' if of_many else ''}"))
        if of_many:
            keys.append(("C", "search a class (Enter takes it, Esc leaves)"))
    if of_pictures:
        keys.append(("Z", "show the picture’s own pixels (arrow keys move it, Esc leaves)"))
    return [*keys, ("N", "write a note (Enter ends it)"), ("?", "show these keys")]
