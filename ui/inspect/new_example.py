"""An example that is in no data set: uploaded or typed, scored, explained.

A table's row is typed into one field a column.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

from relabel.db.examples import find_by_positions
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.features.encoding import encoder_from_json
from relabel.features.image import MAX_BYTES, MAX_PIXELS, name_formats, read_image
from relabel.features.ngrams import NgramEncoder
from relabel.features.shown import resize_for_screen
from relabel.features.text import TextEncoder
from relabel.models.user.config import needs_consent
from relabel.runs.folder import RunFolder
from relabel.text import format_number, shorten
from tracin_core.errors import ConfigurationError, InputError
from ui.charts import draw_probabilities
from ui.fields import field_text
from ui.inspect.evidence import draw_evidence_options, draw_neighbours_of_vector
from ui.inspect.recurring import draw_hiding, list_hidden
from ui.inspect.words import start_marking
from ui.runs.own_model import agree_to_network
from ui.session import get_engine, run_folder
from ui.wording import class_name, escape_markdown, percent, read_number

if TYPE_CHECKING:
    from relabel.triage.new_example import NewExample


Row = dict[str, float | str | None]
Content = bytes | str | Row
_IMAGE_TYPES = ["png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif", "avif", "heic"]
# Megabytes; a little above our own limit, whose message says what to do.
_UPLOAD_LIMIT = MAX_BYTES // 2**20 + 5
_NEIGHBOURS = 10
_MAX_TEXT = 20_000  # characters; longer texts are cut by the model's own limit anyway
_SHOWN_EDGE = 480  # pixels
_NAME_LENGTH = 60  # characters of a column's name
_MAX_VALUE = 500  # characters
_RESULT = "new-example"
_ASKED = "new-row-asked"


def draw_new_example(project: Project, run: Run) -> int | None:
    """Draw the upload or the text field, and the explanation of what was put in.

    Returns:
        The number of a train example that was clicked, or None.
    """
    try:
        content = _draw_input(project)
        if content is None:
            st.caption("Its proponents and opponents among the train examples appear here.")
            return None
        if not agree_to_network(run.config.get("model"), place="new-example"):
            return None
        scored = _score(project, run, content)
    except (InputError, ConfigurationError) as error:
        st.error(escape_markdown(str(error)))
        return None
    if isinstance(content, str):
        _warn_of_unknown_words(project, run, content)
    _draw_prediction(project, scored, content)
    layers, measure = draw_evidence_options(run)
    hidden = list_hidden(project, run, layers, measure, hides=draw_hiding())
    return draw_neighbours_of_vector(
        project,
        run,
        scored.vectors,
        layers=layers,
        measure=measure,
        count=_NEIGHBOURS,
        image_size=96,
        key=f"new-{_fingerprint(run, content)}-{layers}-{measure}-{len(hidden)}",
        beside=content if isinstance(content, dict) else None,
        words=start_marking(project, run, content) if isinstance(content, str) else None,
        hidden=hidden,
    )


def _draw_input(project: Project) -> Content | None:
    if project.kind == "table":
        return draw_row_input(project)
    if project.kind == "image":
        upload = st.file_uploader(
            "Upload an image", type=_IMAGE_TYPES, key="new-image", max_upload_size=_UPLOAD_LIMIT
        )
        st.caption(
            f"{name_formats()}, at most {MAX_BYTES // 2**20} MB and {MAX_PIXELS / 1e6:.0f} million "
            "pixels. A larger file is marked red and not sent."
        )
        return upload.getvalue() if upload is not None else None
    text = st.text_area(
        "Type or paste a text",
        key="new-text",
        max_chars=_MAX_TEXT,
        height=140,
        persist_state="session",
    )
    asked = st.button("Explain", type="primary", key="explain-text")
    if asked and not (text or "").strip():
        st.warning("There is no text yet. Type a sentence or two, then press Explain.")
    return text if (text or "").strip() else None


def draw_row_input(project: Project) -> Row | None:
    """Draw a field a column, filled from the first train row, to try what a change does.

    Returns:
        The row, once *Explain* has been pressed; None before.

    Raises:
        InputError: If a numeric column holds something else.
    """
    columns = [dict(column) for column in project.settings.get("columns", ())]
    example = _first_row(project)
    with st.form(f"new-row-{project.id}"):
        st.caption("Filled from the first train row. Change what you like; empty means missing.")
        typed: dict[str, str] = {}
        for place, holder in zip(columns, _spread(len(columns)), strict=True):
            name = str(place["name"])
            typed[name] = holder.text_input(
                escape_markdown(shorten(name, _NAME_LENGTH)),
                value=_prefill(example.get(name)),
                key=f"new-row-{project.id}-{name}",
                max_chars=_MAX_VALUE,
            )
        if st.form_submit_button("Explain", type="primary", key="explain-row"):
            st.session_state[_ASKED] = project.id
    if st.session_state.get(_ASKED) != project.id:
        return None
    kinds = {str(column["name"]): str(column.get("kind", "category")) for column in columns}
    return {name: read_value(name, kinds[name], text) for name, text in typed.items()}


def read_value(name: str, kind: str, typed: str) -> float | str | None:
    """Return what a person typed into a column's field; None where it is empty.

    Raises:
        InputError: If the column is numeric and the text is not.
    """
    text = typed.strip()
    if not text:
        return None
    if kind != "number":
        return text
    value = read_number(text)
    if value is None:
        raise InputError(
            f"The column {name} holds “{text[:40]}”, expected a number such as 12500 or -3.5. "
            "Correct it, or empty the field where the number is not known."
        )
    return value


def _first_row(project: Project) -> Mapping[str, object]:
    [view] = find_by_positions(get_engine(), project.id, None, "train", [0])
    return view.fields or {}


def _prefill(value: object) -> str:
    return "" if value is None else field_text(value).replace(",", "")


def _spread(count: int) -> list[st.delta_generator.DeltaGenerator]:
    """Return places for so many fields, three beside each other."""
    columns = st.columns(3)
    return [columns[number % 3] for number in range(count)]


def _fingerprint(run: Run, content: Content) -> str:
    data = content if isinstance(content, bytes) else repr(content).encode("utf-8", "replace")
    return f"{run.id}-{hashlib.sha256(data).hexdigest()[:16]}"


def _score(project: Project, run: Run, content: Content) -> NewExample:
    """Score the input once; a rerun of the page for another click finds the result again."""
    mark = _fingerprint(run, content)
    kept = st.session_state.get(_RESULT)
    if kept is not None and kept[0] == mark:
        return kept[1]  # type: ignore[no-any-return]
    if isinstance(content, bytes):
        read_image(content)  # what cannot be read is told at once, without loading torch first
    with st.spinner("Scoring at every checkpoint"):
        # torch takes seconds and hundreds of megabytes, and only this needs it.
        from relabel.triage.new_example import score_new_example

        scored = score_new_example(
            run_folder(project, run),
            image=content if isinstance(content, bytes) else None,
            text=content if isinstance(content, str) else None,
            fields=content if isinstance(content, dict) else None,
            run_my_code=needs_consent(run.config.get("model")),  # asked for before
        )
    st.session_state[_RESULT] = (mark, scored)
    return scored


def _warn_of_unknown_words(project: Project, run: Run, text: str) -> None:
    """Draw a warning where the model knows none of the words: its prediction then means nothing."""
    saved = RunFolder(run_folder(project, run)).read_config().encoder
    if saved.get("kind") not in ("text", "ngrams"):
        return
    encoder = encoder_from_json(dict(saved))
    if isinstance(encoder, TextEncoder | NgramEncoder) and not encoder.knows_any_word(text):
        st.warning(
            "The model knows none of these words, so its prediction says nothing about the text. "
            "Try one with words that occur in the train examples."
        )


def _draw_prediction(project: Project, scored: NewExample, content: Content) -> None:
    if scored.predicted_value is not None:
        st.badge(
            f"predicted {escape_markdown(format_number(scored.predicted_value))}", color="green"
        )
        st.caption("It has no number of its own, so what is explained is the prediction.")
        return
    left, right = st.columns([5, 6], gap="large")
    name = class_name(project.classes, scored.predicted)
    with left:
        if isinstance(content, bytes):
            # What the model saw, decoded with limits; the upload itself can be of a kind that a
            # browser does not show.
            shown = resize_for_screen(read_image(content), _SHOWN_EDGE)
            st.image(shown, width=240, alt="The uploaded image")
        chance = percent(float(scored.probabilities[scored.predicted]))
        with st.container(horizontal=True):
            st.badge(
                f"predicted {escape_markdown(name)} · {escape_markdown(chance)}", color="green"
            )
        st.caption("It has no label, so what is explained is the score of the predicted class.")
    with right:
        draw_probabilities(
            scored.probabilities, project.classes, given=None, key="new-probabilities", limit=6
        )
