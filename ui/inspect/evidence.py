"""Proponents and opponents of an example, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from relabel.db.examples import ExampleView, find_by_positions
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.text import Layers, counted
from relabel.triage.evidence import (
    NOBODY,
    Evidence,
    Neighbour,
    Suggestion,
    open_evidence,
    suggest_label,
)
from relabel.valuation.opponents import leave_out
from tracin_core.retrieval.exact import SIDES, Side
from ui.components.cards import Card, Layout, Piece, show_cards
from ui.fields import Fields, read_spreads
from ui.galleries import EXCERPT_LENGTH, neighbour_card
from ui.inspect.words import WordMarks, start_marking
from ui.labels import is_regression
from ui.runs.layers import draw_missing_layers, layers_of
from ui.session import get_engine, run_folder
from ui.wording import class_name, escape_markdown, segment_words

Measure = Literal["influence", "cosine"]

LAYER_WORDS: dict[Layers, str] = {"all": "All layers", "last": "Last layer"}
MEASURE_WORDS: dict[Measure, str] = {"cosine": "Cosine", "influence": "Influence"}
_VOTERS = 10  # opponents that are asked for their label
NO_NEIGHBOURS = "There are no {side}: no train example pulled that way."
CAPTIONS = {
    "proponents": "Training on these drew the model to this label (lowered its loss).",
    "opponents": "Training on these drew the model away from it (raised its loss).",
}
_SCORE_CAPTIONS = {
    "proponents": "Training on these raised the score of the predicted class.",
    "opponents": "Training on these lowered the score of the predicted class.",
}
_NUMBER_CAPTIONS = {
    "proponents": "Training on these raised the predicted number.",
    "opponents": "Training on these lowered the predicted number.",
}
# In plain words; the field's own stand beside them.
_TITLES = {
    "proponents": "Speak for it · proponents",
    "opponents": "Speak against it · opponents",
}


@st.cache_resource(show_spinner=False, max_entries=8)
def _open(folder: Path, run_key: str) -> Evidence:
    """Open a run's vectors once a process; the key makes a new run a new entry."""
    return open_evidence(folder)


def get_evidence(project: Project, run: Run) -> Evidence:
    """Return the run's vectors, ready to be searched.

    Raises:
        RunFolderError: If they are missing or corrupt.
    """
    return _open(run_folder(project, run), run.key)


def draw_evidence_options(run: Run) -> tuple[Layers, Measure]:
    """Draw the choice of layers, where the run has several, and of the measure; return both."""
    offered = layers_of(run)
    layers: Layers | None = offered[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(offered) > 1:
            layers = st.segmented_control(
                "Gradients of",
                offered,
                format_func=lambda name: segment_words(LAYER_WORDS[name]),
                default=offered[0],
                required=True,
                key="evidence-layers",
                persist_state="session",
            )
        measure = st.segmented_control(
            "Ranked by",
            list(MEASURE_WORDS),
            format_func=lambda name: segment_words(MEASURE_WORDS[name]),
            default="cosine",
            required=True,
            key="evidence-measure",
            persist_state="session",
            help="Influence is TracIn's sum of gradient products. A few train examples with huge "
            "gradients then stand in everybody's list. The cosine leaves their size out, and its "
            "opponents name the true label of a wrong one more often.",
        )
    draw_missing_layers(run)
    return layers or offered[0], measure or "cosine"


@dataclass(frozen=True, kw_only=True)
class FoundEvidence:
    """What speaks for the given label of one train example, and what against it.

    Attributes:
        proponents: The strongest first.
        opponents: The strongest first.
        suggestion: The label most opponents carry; None where they agree on no other one.
        pieces: The example's own text, words marked that carry an influence; empty without any.
        num_hidden: By side, how many recurring train examples were left out.
    """

    proponents: tuple[Card, ...]
    opponents: tuple[Card, ...]
    suggestion: Suggestion | None
    pieces: tuple[Piece, ...]
    num_hidden: Mapping[Side, int]


def find_evidence(
    project: Project,
    run: Run,
    views: Sequence[ExampleView],
    *,
    layers: Layers,
    measure: Measure,
    count: int,
    hidden: Set[int] = frozenset(),
) -> list[FoundEvidence]:
    """Return the evidence of several train examples, which are searched together.

    The suggestion is always by the cosine over all layers where the run has them, whatever the
    galleries show: on the demos its opponents named the true label of a wrong one most often
    (docs/benchmarks.md).

    Args:
        project: The project.
        run: Its run.
        views: The examples.
        layers: Whose gradients.
        measure: How to rank.
        count: Neighbours a side.
        hidden: Positions of train examples that the galleries leave out; the suggestion does not.

    Raises:
        RunFolderError: If the run does not have them all, or a file is missing or corrupt.
    """
    evidence = get_evidence(project, run)
    positions = [view.position for view in views]
    # The more that are asked for begin with the fewer, so one search serves both where it can.
    is_shared = (layers, measure) == (evidence.choose_layers(), "cosine")
    most = max(count + len(hidden), _VOTERS if is_shared else 0)
    both = evidence.both_sides_of_many("train", positions, k=most, layers=layers, measure=measure)
    shown = {side: [leave_out(one, hidden, count) for one in both[side]] for side in SIDES}
    voters: list[list[Neighbour]] = []
    if not is_regression(project):
        voters = [one[:_VOTERS] for one in both["opponents"]]
        if not is_shared:
            voters = evidence.neighbours_of_many(
                "train", positions, side="opponents", k=_VOTERS, measure="cosine"
            )
    kept = [one for side in SIDES for one, _ in shown[side]]
    found = {item.position for lists in (kept, voters) for one in lists for item in one}
    ordered = sorted(found)
    known = dict(
        zip(
            ordered,
            find_by_positions(get_engine(), project.id, run.id, "train", ordered),
            strict=True,
        )
    )
    spreads = read_spreads(project)
    gathered = []
    for place, view in enumerate(views):
        words = start_marking(project, run, view.text)
        sides = [
            tuple(
                _make_card(project, known[item.position], item.score, view.fields, spreads, words)
                for item in shown[side][place][0]
            )
            for side in SIDES
        ]
        labels = [known[item.position].current_label for item in (voters[place] if voters else ())]
        gathered.append(
            FoundEvidence(
                proponents=sides[0],
                opponents=sides[1],
                suggestion=suggest_label(labels, view.given_label),
                pieces=() if words is None else words.pieces(view.fields),
                num_hidden={side: shown[side][place][1] for side in SIDES},
            )
        )
    return gathered


def describe_hidden(num_hidden: int) -> str:
    """Return how many recurring examples a list leaves out; nothing where none stood in it."""
    if not num_hidden:
        return ""
    are = "is" if num_hidden == 1 else "are"
    return f"{counted(num_hidden, 'recurring example')} {are} hidden here."


def describe_suggestion(project: Project, suggestion: Suggestion | None) -> str:
    """Return what the example's opponents are labelled; nothing where they do not agree."""
    if suggestion is None:
        return ""
    name = class_name(project.classes, suggestion.label)
    return f"{suggestion.votes} of its {suggestion.of} nearest opponents are {name}."


def describe_index_fault(project: Project, run: Run, layers: Layers, measure: Measure) -> str:
    """Describe why a search takes longer than it should; by the cosine none uses an index."""
    return get_evidence(project, run).index_fault(layers) if measure == "influence" else ""


def draw_neighbours(
    project: Project,
    run: Run,
    view: ExampleView,
    *,
    layers: Layers,
    measure: Measure,
    count: int,
    image_size: int,
    layout: Layout = "grid",
    key: str,
    words: WordMarks | None = None,
    hidden: Set[int] = frozenset(),
) -> int | None:
    """Draw the proponents and opponents of a stored example.

    Args:
        project: The project.
        run: Its run.
        view: The example.
        layers: Whose gradients.
        measure: How to rank.
        count: Neighbours a side.
        image_size: Edge of the pictures, in CSS pixels.
        layout: How the cards lie.
        key: Widget key.
        words: Marks the words that carry an influence between texts; None where nothing can.
        hidden: Positions of train examples that are left out.

    Returns:
        The number of the example that was clicked, or None.
    """
    evidence = get_evidence(project, run)
    _draw_index_fault(evidence, layers, measure)
    wanted = count + len(hidden)

    def search(side: Side) -> list[Neighbour]:
        return evidence.neighbours(
            view.split, view.position, side=side, k=wanted, layers=layers, measure=measure
        )

    return _draw_both(
        project,
        run,
        {side: leave_out(search(side), hidden, count) for side in SIDES},
        CAPTIONS,
        image_size,
        layout,
        key,
        beside=view.fields,
        words=words,
    )


def draw_neighbours_of_vector(
    project: Project,
    run: Run,
    vectors: dict[str, NDArray[np.float32]],
    *,
    layers: Layers,
    measure: Measure,
    count: int,
    image_size: int,
    layout: Layout = "grid",
    key: str,
    beside: Fields | None = None,
    words: WordMarks | None = None,
    hidden: Set[int] = frozenset(),
    itself: int = NOBODY,
) -> int | None:
    """Draw the proponents and opponents of the prediction of a new or a stored example.

    Args:
        project: The project.
        run: Its run.
        vectors: Gradient vectors by layers, each of shape ``(D,)``.
        layers: Which of them to use.
        measure: How to rank.
        count: Neighbours a side.
        image_size: Edge of the pictures, in CSS pixels.
        layout: How the cards lie.
        key: Widget key.
        beside: The example's row, for tables.
        words: As for a stored example.
        hidden: As for a stored example.
        itself: Position of the example where it is a train example, which is none of its own.

    Returns:
        The number of the example that was clicked, or None.
    """
    evidence = get_evidence(project, run)
    _draw_index_fault(evidence, layers, measure)
    wanted = count + len(hidden)

    def search(side: Side) -> list[Neighbour]:
        return evidence.neighbours_of_vector(
            vectors[layers], side=side, k=wanted, layers=layers, measure=measure, itself=itself
        )

    return _draw_both(
        project,
        run,
        {side: leave_out(search(side), hidden, count) for side in SIDES},
        _NUMBER_CAPTIONS if is_regression(project) else _SCORE_CAPTIONS,
        image_size,
        layout,
        key,
        beside=beside,
        words=words,
    )


def _draw_index_fault(evidence: Evidence, layers: Layers, measure: Measure) -> None:
    fault = evidence.index_fault(layers) if measure == "influence" else ""
    if fault:
        st.caption(escape_markdown(fault))


def _draw_both(
    project: Project,
    run: Run,
    found: Mapping[Side, tuple[list[Neighbour], int]],
    captions: Mapping[str, str],
    image_size: int,
    layout: Layout,
    key: str,
    beside: Fields | None = None,
    words: WordMarks | None = None,
) -> int | None:
    opened = None
    spreads = read_spreads(project)
    for side, (neighbours, num_hidden) in found.items():
        st.header(_TITLES[side], anchor=False)
        st.caption(f"{captions[side]} {describe_hidden(num_hidden)}")
        if not neighbours:
            st.caption(NO_NEIGHBOURS.format(side=side))
            continue
        views = find_by_positions(
            get_engine(), project.id, run.id, "train", [item.position for item in neighbours]
        )
        cards = [
            _make_card(project, view, item.score, beside, spreads, words)
            for view, item in zip(views, neighbours, strict=True)
        ]
        event = show_cards(
            cards,
            key=f"{key}-{side}",
            label=side.capitalize(),
            layout=layout,
            image_size=image_size,
        )
        opened = event.opened if event.opened is not None else opened
    return opened


def _make_card(
    project: Project,
    view: ExampleView,
    score: float,
    beside: Fields | None,
    spreads: Mapping[str, float],
    words: WordMarks | None,
) -> Card:
    marked: tuple[Piece, ...] = ()
    if words and view.text:
        marked = words.mark(view.text, score, EXCERPT_LENGTH, view.fields)
    return neighbour_card(project, view, score, beside=beside, spreads=spreads, pieces=marked)
