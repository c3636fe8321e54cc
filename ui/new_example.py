"""An example that is in no data set: uploaded or typed, scored, explained."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import streamlit as st

from tracin_core.errors import ConfigurationError, InputError
from tracin_core.examples.images import FORMAT_LIST, MAX_BYTES, MAX_PIXELS, read_image
from tracin_core.models.own import needs_consent
from tracin_core.reviews.projects import Project, Run
from ui.charts import draw_probabilities
from ui.evidence import draw_evidence_options, draw_neighbours_of_vector
from ui.media import resize_for_screen
from ui.own_model import agree_to_network
from ui.plain_text import escape_markdown
from ui.session import run_folder
from ui.wording import class_name, percent

if TYPE_CHECKING:
    from tracin_core.retrieval.new_example import NewExample

_IMAGE_TYPES = ["png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif"]
# Megabytes; a little above our own limit, whose message says what to do.
_UPLOAD_LIMIT = MAX_BYTES // 2**20 + 5
_NEIGHBOURS = 10
_MAX_TEXT = 20_000  # characters; longer texts are cut by the model's own limit anyway
_SHOWN_EDGE = 480  # pixels
_RESULT = "new-example"


def draw_new_example(project: Project, run: Run) -> int | None:
    """Draw the upload or the text field, and the explanation of what was put in.

    Returns:
        The number of a train example that was clicked, or None.
    """
    image, text = _draw_input(project)
    if image is None and text is None:
        st.caption("Its proponents and opponents among the train examples appear here.")
        return None
    if not agree_to_network(run.config.get("model"), place="new-example"):
        return None
    try:
        scored = _score(project, run, image, text)
    except (InputError, ConfigurationError) as error:
        st.error(escape_markdown(str(error)))
        return None
    _draw_prediction(project, scored, image)
    layers, measure = draw_evidence_options()
    return draw_neighbours_of_vector(
        project,
        run,
        scored.vectors,
        layers=layers,
        measure=measure,
        count=_NEIGHBOURS,
        image_size=96,
        key=f"new-{_fingerprint(run, image, text)}-{layers}-{measure}",
    )


def _draw_input(project: Project) -> tuple[bytes | None, str | None]:
    if project.kind == "image":
        upload = st.file_uploader(
            "Upload an image", type=_IMAGE_TYPES, key="new-image", max_upload_size=_UPLOAD_LIMIT
        )
        st.caption(
            f"{FORMAT_LIST}, at most {MAX_BYTES // 2**20} MB and {MAX_PIXELS / 1e6:.0f} million "
            "pixels. A larger file is marked red and not sent."
        )
        return (upload.getvalue() if upload is not None else None), None
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
    return None, (text if (text or "").strip() else None)


def _fingerprint(run: Run, image: bytes | None, text: str | None) -> str:
    content = image if image is not None else (text or "").encode()
    return f"{run.id}-{hashlib.sha256(content).hexdigest()[:16]}"


def _score(project: Project, run: Run, image: bytes | None, text: str | None) -> NewExample:
    """Score the input once; a rerun of the page for another click finds the result again."""
    mark = _fingerprint(run, image, text)
    kept = st.session_state.get(_RESULT)
    if kept is not None and kept[0] == mark:
        return kept[1]  # type: ignore[no-any-return]
    if image is not None:
        read_image(image)  # what cannot be read is told at once, without loading torch first
    with st.spinner("Scoring at every checkpoint"):
        # torch takes seconds and hundreds of megabytes, and only this needs it.
        from tracin_core.retrieval.new_example import score_new_example

        scored = score_new_example(
            run_folder(project, run),
            image=image,
            text=text,
            run_my_code=needs_consent(run.config.get("model")),  # asked for before
        )
    st.session_state[_RESULT] = (mark, scored)
    return scored


def _draw_prediction(project: Project, scored: NewExample, image: bytes | None) -> None:
    left, right = st.columns([5, 6], gap="large")
    name = class_name(project.classes, scored.predicted)
    with left:
        if image is not None:
            # What the model saw, decoded with limits; the upload itself can be of a kind that a
            # browser does not show.
            shown = resize_for_screen(read_image(image), _SHOWN_EDGE)
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
