"""What the evidence of a stored example explains: the loss of its label, or its prediction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from relabel.db.examples import ExampleView
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.fitting.stored import ContentReader
from relabel.models.user.config import needs_consent
from relabel.runs.folder import RunFolder
from relabel.valuation.words import Explained
from ui.address import choose_mode
from ui.runs.layers import layers_of
from ui.runs.own_model import agree_to_network
from ui.session import get_engine, get_workspace, run_folder

EXPLAINED = {"loss": "Explains its label", "score": "Explains the prediction"}
Vectors = dict[str, NDArray[np.float32]]


def choose_explained() -> Explained:
    """Draw the choice of what the evidence explains; it stands in the address."""
    chosen = choose_mode(
        "What the evidence explains",
        EXPLAINED,
        name="explain",
        default="loss",
        key="explain",
    )
    return "score" if chosen == "score" else "loss"


def find_score_vectors(project: Project, run: Run, view: ExampleView) -> Vectors | None:
    """Return a stored example's vectors of the score of its prediction, by layers.

    Those of test examples may lie in the run; others are computed by the run's network, and a
    person's own one asks for an agreement first.

    Returns:
        None while there is no agreement.
    """
    folder = run_folder(project, run)
    stored = _read_stored(RunFolder(folder), run, view)
    if stored is not None:
        return stored
    if not agree_to_network(run.config.get("model"), place="explain"):
        return None
    is_own = needs_consent(run.config.get("model"))
    with st.spinner("Explaining the prediction at every checkpoint"):
        return _compute(folder, run.key, project.slug, project.id, view, is_own)


def _read_stored(folder: RunFolder, run: Run, view: ExampleView) -> Vectors | None:
    """Return what a pass over the test examples has made; None where there was none."""
    if view.split != "test":
        return None
    found: Vectors = {}
    for layers in layers_of(run):
        rows = folder.score_vectors(layers)
        if rows is None:
            return None
        found[layers] = np.array(rows[view.position])
    return found


@st.cache_resource(show_spinner=False, max_entries=64, hash_funcs={ExampleView: lambda one: one.id})
def _compute(
    folder: Path, run_key: str, slug: str, project_id: int, view: ExampleView, agreed: bool
) -> Vectors:
    """Compute them once a process; the key makes a new run a new entry."""
    reader = ContentReader(get_engine(), project_id, view.split, get_workspace().media_folder(slug))
    [content] = reader.read([view.position])
    # torch takes seconds and hundreds of megabytes, and only this and a new example need it.
    from relabel.triage.new_example import score_new_example

    scored = score_new_example(
        folder,
        image=content if isinstance(content, bytes) else None,
        text=content if isinstance(content, str) else None,
        fields=content if isinstance(content, Mapping) else None,
        run_my_code=agreed,
    )
    return scored.vectors
