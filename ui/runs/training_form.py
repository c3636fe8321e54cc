"""Start a training: which network, and how long; what is not changed is chosen by the data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.stats import review_progress
from relabel.features.backbones.registry import AUTO
from relabel.fitting.options import MOST_FOLDS, WorkOptions
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
AUTO_WORDS = (
    "By the data (suggested)",
    "Several kinds of models are asked about examples that they have not seen, and the network "
    "whose kind agrees most with the given labels is trained. Runs shows the comparison.",
)
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
    names = available(project.kind, project.task)  # type: ignore[arg-type]
    model = st.selectbox(
        "Model",
        [AUTO, *names, OWN],
        format_func=lambda name: _describe(name)[0],
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
        options = _draw_numbers(project, options, _suggest(project, options.model))
    else:  # nothing is trained; who has not seen the examples is asked as after a training
        with st.expander("More", key="train-more"):
            options = replace(options, folds=_draw_folds())
            options = options if project.kind == "table" else _draw_backbone(options)
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
    if name == AUTO:
        return AUTO_WORDS
    network = find_network(name)
    return OWN_WORDS if network is None else (network.title, network.description)


def _draw_numbers(project: Project, options: WorkOptions, suggested: TrainingConfig) -> WorkOptions:
    """Draw how it is trained, with what suits the kind of data filled in."""
    key, is_auto = f"train-{options.model}", options.model == AUTO
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
        least, limit = suggested.epochs, f"within {MOST_SECONDS / 60:.0f} minutes of training."
        as_long = "as long as they lower the loss on held-out examples"
        st.caption(
            f"Left empty: as many as suit the network, and more {as_long}, {limit}"
            if is_auto
            else f"Left empty: {least} epochs, and {least} more {as_long}; at most "
            f"{least * MOST_ROUNDS}, and {limit}"
        )
    with st.expander("More", key="train-more"):
        with st.container(horizontal=True, vertical_alignment="top"):
            # What suits depends on the network, and that is not chosen yet.
            if not is_auto:
                options = _draw_steps(options, suggested, key)
            seed = st.number_input("Seed", min_value=0, value=0, key=f"{key}-seed", width=_FIELD)
            patience = st.number_input(
                "Stop early after",
                min_value=1,
                value=None,
                placeholder="never",
                key=f"{key}-patience",
                help="Epochs without a lower test loss.",
                width=_FIELD,
            )
        folds = _draw_folds()
        options = _draw_weights(project, options)
    return replace(
        options,
        epochs=None if epochs is None else int(epochs),
        seed=int(seed),
        patience=None if patience is None else int(patience),
        folds=folds,
    )


def _draw_folds() -> int | None:
    """Draw into how many parts the train examples are cut; None where the data decides."""
    folds = st.number_input(
        "Folds",
        min_value=0,
        max_value=MOST_FOLDS,
        value=None,
        placeholder="by the data",
        key="train-folds",
        help="Parts that the train examples are cut into: models that were fitted to the "
        "others are asked about each. With a number of yours slow networks are asked, too, "
        "which takes as long as so many trainings; 0 asks nobody.",
        width=_FIELD,
    )
    return None if folds is None else int(folds)


def _draw_weights(project: Project, options: WorkOptions) -> WorkOptions:
    """Draw where weights that were trained elsewhere come from, for networks that take some."""
    network = find_network(options.model)
    if options.model == AUTO:  # of the kinds that are compared some read features
        return options if project.kind == "table" else _draw_backbone(options)
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
        "empty: the best one that is at hand; none does without.",
        width=420,
    )
    allow = st.checkbox(
        "Fetch its weights if they are not here",
        key="train-download",
        help="From where they are published, once. Nothing of the project is sent.",
    )
    return replace(options, features=(name or "").strip() or AUTO, allow_download=allow)


def _draw_steps(options: WorkOptions, suggested: TrainingConfig, key: str) -> WorkOptions:
    """Draw what its steps are like, and how many checkpoints are scored."""
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
    count = st.number_input(
        "Checkpoints to score with",
        min_value=1,
        max_value=100,
        value=suggested.num_checkpoints,
        key=f"{key}-count",
        help="At most so many are recommended: where the loss falls most.",
        width=_FIELD,
    )
    return replace(
        options, learning_rate=float(rate), batch_size=int(batch), num_checkpoints=int(count)
    )
