"""Start a training: which network, and how long; what is not changed is chosen by the data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.stats import review_progress
from relabel.features.backbones.registry import AUTO
from relabel.fitting.options import WorkOptions
from relabel.models.builtin import available
from relabel.models.registry import find_network
from relabel.models.user.config import is_reference
from relabel.training.config import MOST_ROUNDS, MOST_SECONDS, TrainingConfig, suggest_training
from ui.runs.layers import choose_layers
from ui.runs.own_model import draw_own_model
from ui.session import get_engine

OWN = "own"
_FIELD = 170  # CSS pixels
# Of a network that is not in the table of built-in ones: title and description.
OWN_WORDS = (
    "My own network",
    "A function in a Python file of yours that returns the network; with checkpoints of your own, "
    "or trained here.",
)


@dataclass(frozen=True)
class WorkRequest:
    """A job that a person asked for.

    Attributes:
        kind: "train" (which scores, too), or "score" where the checkpoints are there.
        options: Its options.
    """

    kind: str
    options: WorkOptions


def draw_training_form(project: Project) -> WorkRequest | None:
    """Draw the form; return the job that was asked for, or None."""
    suggested, *others = available(project.kind, project.task)  # type: ignore[arg-type]
    model = st.selectbox(
        "Model",
        [suggested, *others, OWN],
        format_func=lambda name: _title(name, suggested),
        key="train-model",
        width=420,
        persist_state="session",
    )
    st.caption(_describe(model)[1])
    if model == OWN:
        own = draw_own_model(project)
        if own is None:
            return None
        options = own
    else:
        options = WorkOptions(model=model)
    if options.checkpoints is None:
        options = _draw_numbers(options, _suggest(project, options.model))
    options = replace(options, layers=choose_layers(place="train"))
    kind, words = (
        ("train", "Train and score") if options.checkpoints is None else ("score", "Score")
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(words, type="primary", key="start-training")
        st.caption("It works in a process of its own: you may close this page meanwhile.")
    return WorkRequest(kind, options) if pressed else None


def _suggest(project: Project, model: str) -> TrainingConfig:
    """Return what would be chosen for the project with this network."""
    return suggest_training(
        project.kind,  # type: ignore[arg-type]
        num_examples=review_progress(get_engine(), project.id).total,
        model="own" if is_reference(model) else model,
    )


def _describe(name: str) -> tuple[str, str]:
    """Return a network's title and what it is good for."""
    network = find_network(name)
    return OWN_WORDS if network is None else (network.title, network.description)


def _title(name: str, suggested: str) -> str:
    title = _describe(name)[0]
    return f"{title} (suggested)" if name == suggested else title


def _draw_numbers(options: WorkOptions, suggested: TrainingConfig) -> WorkOptions:
    """Draw how it is trained, with what suits the kind of data filled in."""
    key = f"train-{options.model}"
    epochs = st.number_input(
        "Epochs",
        min_value=1,
        max_value=10_000,
        value=None,
        placeholder="until it settles",
        key=f"{key}-epochs",
        help="Passes over the train examples. Each leaves a checkpoint.",
        width=_FIELD,
    )
    if epochs is None:
        least, minutes = suggested.epochs, MOST_SECONDS / 60
        st.caption(
            f"Left empty: {least} epochs, and {least} more as long as they lower the loss on "
            f"held-out examples; at most {least * MOST_ROUNDS}, and within {minutes:.0f} minutes "
            "of training."
        )
    with st.expander("More", key="train-more"):
        with st.container(horizontal=True, vertical_alignment="top"):
            rate = st.number_input(
                "Learning rate",
                min_value=1e-6,
                max_value=10.0,
                value=suggested.learning_rate,
                format="%g",
                step=0.01,
                key=f"{key}-rate",
                width=_FIELD,
            )
            batch = st.number_input(
                "Batch size",
                min_value=1,
                value=suggested.batch_size,
                key=f"{key}-batch",
                help="Examples a step.",
                width=_FIELD,
            )
            seed = st.number_input("Seed", min_value=0, value=0, key=f"{key}-seed", width=_FIELD)
            count = st.number_input(
                "Checkpoints to score with",
                min_value=1,
                max_value=100,
                value=suggested.num_checkpoints,
                key=f"{key}-count",
                help="At most so many are recommended: where the loss falls most.",
                width=_FIELD,
            )
            patience = st.number_input(
                "Stop early after",
                min_value=1,
                value=None,
                placeholder="never",
                key=f"{key}-patience",
                help="Epochs without a lower test loss.",
                width=_FIELD,
            )
        options = _draw_weights(options)
    return replace(
        options,
        epochs=None if epochs is None else int(epochs),
        learning_rate=float(rate),
        batch_size=int(batch),
        seed=int(seed),
        num_checkpoints=int(count),
        patience=None if patience is None else int(patience),
    )


def _draw_weights(options: WorkOptions) -> WorkOptions:
    """Draw where weights that were trained elsewhere come from, for networks that take some."""
    network = find_network(options.model)
    if network is None or (network.load_weights is None and network.takes != "features"):
        return options
    if network.takes == "features":
        options = _draw_backbone(options)
    weights = st.text_input(
        "Weights to begin with" if network.takes == "inputs" else "Weights of the backbone",
        key="train-weights",
        placeholder=f"/home/ada/{network.name}.pth" if network.takes == "inputs" else "published",
        help="A file on the machine of the app; only numbers are read from it.",
        width=420,
    )
    return replace(options, weights=(weights or "").strip() or None)


def _draw_backbone(options: WorkOptions) -> WorkOptions:
    """Draw whose features are taken."""
    name = st.text_input(
        "Backbone",
        key="train-features",
        placeholder=AUTO,
        help="The frozen network whose features are taken, such as torchvision:resnet50. Left "
        "empty: the best one that is at hand.",
        width=420,
    )
    allow = st.checkbox(
        "Fetch its weights if they are not here",
        key="train-download",
        help="From where they are published, once. Nothing of the project is sent.",
    )
    return replace(options, features=(name or "").strip() or AUTO, allow_download=allow)
