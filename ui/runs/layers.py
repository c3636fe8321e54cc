"""Which layers are scored, and which of them a run then has."""

from __future__ import annotations

import streamlit as st

from relabel.db.runs import Run
from relabel.runs.config import list_scored_layers
from relabel.text import LayerChoice, Layers
from ui.wording import segment_words

CHOICES: dict[LayerChoice, str] = {"both": "All and the last", "last": "The last alone"}


def layers_of(run: Run) -> tuple[Layers, ...]:
    """Return whose scores and vectors a run has."""
    return list_scored_layers(run.config.get("layers"))


def choose_layers(*, place: str) -> LayerChoice:
    """Draw the choice of what a scoring computes.

    Args:
        place: Part of the page, as several may ask.
    """
    chosen = st.segmented_control(
        "Layers to score",
        list(CHOICES),
        format_func=lambda name: segment_words(CHOICES[name]),
        default="both",
        required=True,
        key=f"{place}-layers",
        persist_state="session",
        help="The queue ranks by the last layer either way. Alone it takes little more than a "
        "forward pass and half the disk; evidence over all layers is then not there.",
    )
    return chosen or "both"


def draw_missing_layers(run: Run) -> None:
    """Describe why there is no choice of layers, where a run has the last one's alone."""
    if "all" not in layers_of(run):
        st.caption(
            "The evidence is the last layer’s: the network has no other layer, or the run was "
            "scored over the last layer alone. Then Runs can score it over all layers."
        )
