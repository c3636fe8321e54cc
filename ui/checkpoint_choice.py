"""Which checkpoints are scored with: the curve, the recommended ones, the cost, the start."""

from __future__ import annotations

import json
from collections.abc import Sequence

import streamlit as st

from tracin_core.fitting.trainings import NETWORK_FILE, TrainingInfo
from tracin_core.fitting.work_options import WorkOptions
from tracin_core.models.own import needs_consent
from tracin_core.numerals import counted, describe_bytes, describe_seconds
from tracin_core.reviews.projects import Project, current_run
from tracin_core.runs.folder import RunFolder
from tracin_core.scoring.estimating import estimate_scoring
from tracin_core.terms import LayerChoice
from tracin_core.triage.model_quality import judge_quality
from ui.curves import CheckpointMark, describe_epoch, draw_loss_curve
from ui.layer_choice import choose_layers
from ui.own_model import agree_to_network
from ui.plain_text import escape_markdown
from ui.segments import segment_words
from ui.session import get_engine, get_workspace, run_folder
from ui.unchanged import count_unranked, is_current_choice, labels_have_changed

RATES = {"ones": "All count the same", "recorded": "By their learning rates"}


def draw_checkpoint_choice(project: Project, training: TrainingInfo) -> WorkOptions | None:
    """Draw the newest training with its checkpoints, and what scoring with them takes.

    Returns:
        The options of a scoring that was asked for, or None.
    """
    st.subheader("Checkpoints", anchor=False)
    if training.epochs:
        said = describe_epoch(training.epochs[-1], training.planned_epochs)
        name = training.model.replace("_", " ")
        course = judge_quality(training.quality).course
        ended = f" Trained {course}" if course else ""
        st.caption(escape_markdown(f"Newest training: {name}. {said}.{ended}"))
    curve = st.container()
    steps = _choose_steps(training)
    with curve:
        draw_loss_curve(
            training.epochs,
            total=training.planned_epochs,
            marks=_marks(training, steps),
            key=f"checkpoints-{training.folder.name}",
        )
    _explain_choice(training)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        rates = st.segmented_control(
            "Weight of the checkpoints",
            list(RATES),
            format_func=lambda name: segment_words(RATES[name]),
            default="ones",
            required=True,
            key="score-rates",
            help="The paper weights each checkpoint with its learning rate. With well chosen "
            "checkpoints, equal weights ranked label errors better.",
        )
        layers = choose_layers(place="score")
        button = st.container()
    if not steps:
        st.caption("Choose at least one checkpoint.")
        return None
    model = _read_model(training)
    agreed = agree_to_network(model, place="score")
    same = _is_scored_so(project, training, steps, rates, layers)
    with button:
        pressed = st.button("Score again", key="score-again", disabled=same or not agreed)
    options = WorkOptions(
        steps=tuple(steps),
        layers=layers,
        rates="recorded" if rates == "recorded" else "ones",
        run_my_code=agreed if needs_consent(model) else False,
    )
    st.caption(_tell_cost(project, options))
    if same:
        st.caption(
            "Nothing would change: the current run has just these checkpoints, weights, layers and "
            "labels. Choose others to score again."
        )
    return options if pressed else None


def _is_scored_so(
    project: Project,
    training: TrainingInfo,
    steps: Sequence[int],
    rates: str | None,
    layers: LayerChoice,
) -> bool:
    """Tell whether the current run is what a scoring of this choice would make."""
    run = current_run(get_engine(), project.id)
    return (
        run is not None
        # A damaged run is scored again from here.
        and not list(RunFolder(run_folder(project, run)).find_problems())
        and is_current_choice(run, training, steps=steps, rates=rates, layers=layers)
        and not count_unranked(project, run)
        and not labels_have_changed(project, run)
    )


def _read_model(training: TrainingInfo) -> object:
    try:
        return json.loads((training.folder / NETWORK_FILE).read_bytes()).get("model")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # the scoring itself will say what is wrong with the folder


def _choose_steps(training: TrainingInfo) -> list[int]:
    epochs = {int(epoch["step"]): epoch.get("epoch") for epoch in training.epochs}
    recommended = set(training.chosen_steps)

    def name(step: int) -> str:
        mark = " (recommended)" if step in recommended else ""
        return f"Epoch {epochs.get(step, '?')}{mark}"

    key = f"steps-{training.folder.name}"
    available = list(training.steps_on_disk)
    if key not in st.session_state:
        st.session_state[key] = [step for step in available if step in recommended]
    chosen = st.multiselect(
        "Checkpoints to score with", available, format_func=name, key=key, persist_state="session"
    )
    return sorted(chosen)


def _marks(training: TrainingInfo, steps: Sequence[int]) -> list[CheckpointMark]:
    reasons = {int(entry["step"]): str(entry.get("reason", "")) for entry in training.chosen}
    return [
        CheckpointMark(
            epoch=float(epoch["epoch"]),
            train_loss=epoch.get("train_loss"),
            chosen=int(epoch["step"]) in steps,
            reason=reasons.get(int(epoch["step"]), ""),
        )
        for epoch in training.epochs
        if int(epoch["step"]) in training.steps_on_disk
    ]


def _explain_choice(training: TrainingInfo) -> None:
    with st.expander("Why these are recommended", key="why-recommended"):
        for entry in training.chosen:
            st.text(f"Epoch {entry.get('epoch', '?')}: {entry.get('reason', '')}")
        st.caption(
            "Checkpoints say most where the loss falls; before the model beats guessing they say "
            "nothing, and after it has settled each says the same again."
        )


def _tell_cost(project: Project, options: WorkOptions) -> str:
    """Return what a scoring will take, for people to see before it starts."""
    estimate = estimate_scoring(get_engine(), get_workspace(), project.slug, options)
    time = (
        "a time not yet known"
        if estimate.seconds is None
        else f"about {describe_seconds(estimate.seconds)}"
    )
    told = (
        f"{counted(estimate.num_examples, 'example')} at "
        f"{counted(estimate.num_checkpoints, 'checkpoint')}: {time}, "
        f"{describe_bytes(estimate.bytes_on_disk)} on the disk."
    )
    if estimate.is_last_exact:
        return told
    exact = describe_bytes(estimate.exact_last_bytes)
    return f"{told} The last layer’s vectors are projected; exact ones would take {exact}."
