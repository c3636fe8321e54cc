"""A stored example with everything that is known about it."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from relabel.db.examples import ExampleView, get_example
from relabel.db.groups import count_left
from relabel.db.project_rules import Project
from relabel.db.queue import QueueFilter, adjacent, draw_next_suspects
from relabel.db.runs import Run
from relabel.errors import NotFoundError
from relabel.runs.folder import RunFolder
from relabel.triage.evidence import NOBODY
from relabel.triage.signals import choose_default_signal, describe_quantity, describe_scores
from ui.address import read_choice, write_choice
from ui.charts import draw_checkpoints, draw_prediction_course, draw_probabilities
from ui.examples import draw_example, draw_labels, draw_source_place
from ui.failures import report_errors
from ui.galleries import place
from ui.inspect.events import draw_events
from ui.inspect.evidence import (
    draw_evidence_options,
    draw_neighbours,
    draw_neighbours_of_vector,
)
from ui.inspect.explained import choose_explained, find_score_vectors
from ui.inspect.recurring import draw_hiding, list_hidden
from ui.inspect.unseen import draw_unseen, read_answer
from ui.inspect.words import MARKING, WordMarks, start_marking
from ui.labels import is_regression
from ui.navigation import open_page
from ui.queue.filters import QueueView, recall_view
from ui.session import get_engine, run_folder
from ui.wording import SPLIT_WORDS, escape_markdown, score_text, segment_words

WITHOUT_UNSEEN = "What the network says is shown without it."
_NEIGHBOURS = 10
_NEIGHBOUR_IMAGE = 96  # CSS pixels


def draw_modes(modes: Mapping[str, str]) -> str:
    """Draw the choice of what to inspect, and return it; the address holds it too.

    The example that the address names is part of the widget's key: opening another one from
    wherever starts from the address again.
    """
    default = next(iter(modes))
    key = f"show-{st.query_params.get('example')}"
    if key not in st.session_state:
        st.session_state[key] = read_choice("show", modes, default)
    mode = st.segmented_control(
        "What to inspect",
        list(modes),
        format_func=lambda name: segment_words(modes[name]),
        required=True,
        key=key,
        label_visibility="collapsed",
    )
    write_choice("show", mode or default, default)
    return mode or default


def requested_example(project: Project, run: Run) -> ExampleView | None:
    """Return the example the address names, or the most suspect one if it names none."""
    requested = st.query_params.get("example")
    if requested is None:
        signal = choose_default_signal(run.signals)
        drawn = draw_next_suspects(get_engine(), run.id, signal=signal)
        return drawn[0].view if drawn else None
    try:
        if not requested.isdecimal() or len(requested) > 18:
            raise NotFoundError(f"“{requested[:40]}” is not the number of an example.")
        view = get_example(get_engine(), int(requested), run.id)
        if view.project_id != project.id:
            raise NotFoundError(f"Example {requested} belongs to another project.")
    except NotFoundError as error:
        st.error(escape_markdown(str(error)))
        st.caption("Open an example from the queue, or look at the most suspect one.")
        if st.button("Open the queue", type="primary", key="to-queue"):
            open_page("queue")
        st.stop()
    return view


def draw_stored_example(project: Project, run: Run, view: ExampleView | None) -> int | None:
    """Draw the example, its numbers, its proponents and opponents.

    Returns:
        The number of another example that was asked for, or None.
    """
    if view is None:
        st.info("Every train example has been reviewed. Open one from the queue to look at it.")
        return None
    moved, words = _draw_moves(project, run, view), start_marking(project, run, view.text)
    shown, thinks, course = st.columns([4, 4, 4], gap="medium")
    with shown:
        slot = st.container()  # the words of a text are marked when its evidence is there
        if words is None:
            with slot:
                draw_example(project, view, key="inspected")
        draw_labels(project, view)
        _draw_place(run, view)
        draw_source_place(view)
        draw_events(project, view.id)
        if st.button("Review this example", key="review-this"):
            split = {} if view.split == "train" else {"split": view.split}
            open_page("review", example=view.id, **split)
    with thinks:
        _draw_thoughts(project, run, view)
        with report_errors(without=WITHOUT_UNSEEN):
            draw_unseen(project, view, read_answer(project, run, view))
    with course:
        _draw_course(project, run, view)
    try:
        opened = _draw_evidence(project, run, view, words)
    finally:
        if words is not None:
            with slot:
                draw_example(project, view, key="inspected", pieces=words.pieces(view.fields))
                st.caption(MARKING)
    return moved if opened is None else opened


def _draw_evidence(
    project: Project, run: Run, view: ExampleView, words: WordMarks | None
) -> int | None:
    """Draw what the evidence is to be, and the proponents and opponents; return what is opened."""
    explained = choose_explained()
    layers, measure = draw_evidence_options(run)
    hidden = list_hidden(project, run, layers, measure, hides=draw_hiding())
    key = f"inspect-{view.id}-{layers}-{measure}-{explained}-{len(hidden)}"
    if explained == "loss":
        return draw_neighbours(
            project,
            run,
            view,
            layers=layers,
            measure=measure,
            count=_NEIGHBOURS,
            image_size=_NEIGHBOUR_IMAGE,
            key=key,
            words=words,
            hidden=hidden,
        )
    vectors = find_score_vectors(project, run, view)
    if vectors is None:
        return None
    return draw_neighbours_of_vector(
        project,
        run,
        vectors,
        layers=layers,
        measure=measure,
        count=_NEIGHBOURS,
        image_size=_NEIGHBOUR_IMAGE,
        key=key,
        beside=view.fields,
        words=words,
        hidden=hidden,
        itself=view.position if view.split == "train" else NOBODY,
    )


def _draw_moves(project: Project, run: Run, view: ExampleView) -> int | None:
    """Draw previous and next in the order of the queue that it came from, else of the whole one."""
    queue = recall_view(project, run, st.query_params.get("within", ""))
    is_filtered = queue is not None and queue.filter.split == view.split
    if queue is None or not is_filtered:
        signals = run.of_split(view.split).signals
        if not signals:
            return None
        everything = QueueFilter(split=view.split)
        queue = QueueView(signal=choose_default_signal(signals), filter=everything)
    before, after = adjacent(
        get_engine(), run.id, signal=queue.signal, filter=queue.filter, example_id=view.id
    )
    moved = None
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Previous", key="previous", shortcut="Left", disabled=before is None):
            moved = before
        if st.button("Next", key="next", shortcut="Right", disabled=after is None):
            moved = after
        if is_filtered:
            left, total = count_left(get_engine(), run.id, signal=queue.signal, filter=queue.filter)
            st.caption(f"In the queue you came from: {left:,} of {total:,} left")
    return moved


def _draw_place(run: Run, view: ExampleView) -> None:
    split = SPLIT_WORDS[view.split]
    run = run.of_split(view.split)
    signal = choose_default_signal(run.signals) if run.signals else ""
    score = view.scores.get(signal)
    if score is None:
        st.caption(f"{split} example {view.position + 1:,}")
        return
    st.caption(
        f"{split} example {view.position + 1:,} · suspect {score.rank:,} of "
        f"{run.num_ranked:,}, {escape_markdown(place(score.rank, run.num_ranked))} · "
        f"{describe_quantity(signal)} {escape_markdown(score_text(score.value))}"
    )


def _draw_thoughts(project: Project, run: Run, view: ExampleView) -> None:
    st.header("What the model thinks", anchor=False)
    folder = RunFolder(run_folder(project, run))
    if is_regression(project):
        predicted = folder.read_signals(view.split, view.position).predicted_value
        draw_prediction_course(
            [] if predicted is None else predicted.tolist(),
            [int(item["step"]) for item in run.checkpoints],
            view.given_value or 0.0,
            target=project.target,
            key=f"predictions-{view.id}",
        )
        return
    draw_probabilities(
        folder.read_probabilities(view.split, view.position),
        project.classes,
        given=view.given_label,
        key=f"probabilities-{view.id}",
        limit=6,
    )


def _draw_course(project: Project, run: Run, view: ExampleView) -> None:
    folder = RunFolder(run_folder(project, run))
    steps = [int(item["step"]) for item in run.checkpoints]
    scores = folder.read_signals(view.split, view.position).scores
    quantity = describe_scores(scores)
    st.header(f"{quantity.capitalize()} at each checkpoint", anchor=False)
    if not scores:
        st.caption("The run's attribution method scores train examples only.")
        return
    draw_checkpoints(scores, steps, quantity=quantity, key=f"checkpoints-{view.id}")
