"""Which checkpoints are scored with: the curve, the recommended ones, the cost, the start.

Of a person's own training, those can be chosen that an earlier scoring has looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run, current_run, list_runs
from relabel.errors import RunFolderError
from relabel.fitting.options import WorkOptions
from relabel.fitting.saved import NETWORK_FILE, TrainingInfo
from relabel.models.user.config import needs_consent
from relabel.runs.folder import RunFolder
from relabel.scoring.estimate import estimate_scoring
from relabel.text import LayerChoice, counted, format_bytes, format_seconds
from relabel.triage.model_quality import judge_quality
from ui.runs.changes import count_unranked, is_current_choice, labels_have_changed
from ui.runs.layers import choose_layers
from ui.runs.loss_curve import CheckpointMark, describe_epoch, describe_quality, draw_loss_curve
from ui.runs.own_model import agree_to_network
from ui.session import get_engine, get_workspace, run_folder
from ui.wording import escape_markdown, score_text, segment_words

RATES = {"ones": "All count the same", "recorded": "By their learning rates"}
_RATE_WIDTH = 260  # CSS pixels


def draw_checkpoint_choice(project: Project, training: TrainingInfo) -> WorkOptions | None:
    """Draw the newest training with its checkpoints, and what scoring with them takes.

    Returns:
        The options of a scoring that was asked for, or None.
    """
    st.header("Checkpoints", anchor=False)
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
    st.caption(_describe_cost(project, options))
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
    """Return whether the current run is what a scoring of this choice would make."""
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


def _describe_cost(project: Project, options: WorkOptions) -> str:
    """Return what a scoring will take, for people to see before it starts."""
    estimate = estimate_scoring(get_engine(), get_workspace(), project.slug, options)
    time = (
        "a time not yet known"
        if estimate.seconds is None
        else f"about {format_seconds(estimate.seconds)}"
    )
    told = (
        f"{counted(estimate.num_examples, 'example')} at "
        f"{counted(estimate.num_checkpoints, 'checkpoint')}: {time}, "
        f"{format_bytes(estimate.bytes_on_disk)} on the disk."
    )
    if estimate.is_last_exact:
        return told
    exact = format_bytes(estimate.exact_last_bytes)
    return f"{told} The last layer’s vectors are projected; exact ones would take {exact}."


@dataclass(frozen=True)
class SeenCheckpoints:
    """The checkpoints in a person's folder that were looked at.

    Attributes:
        folder: Theirs, as the scoring was given it.
        by_step: What each was like.
        chosen: Steps that the current run was scored at.
        reasons: Why, by step.
    """

    folder: Path
    by_step: Mapping[int, Mapping[str, Any]]
    chosen: tuple[int, ...]
    reasons: Mapping[int, str]


def draw_own_checkpoint_choice(project: Project, run: Run) -> WorkOptions | None:
    """Draw the checkpoints beside those that a run was scored at, where it has a folder of them.

    Args:
        project: The project.
        run: Its current run.

    Returns:
        The options of a scoring that was asked for, or None.
    """
    seen = find_seen(project, run)
    if seen is None:
        return None
    st.header("Checkpoints of your own training", anchor=False)
    if not seen.folder.is_dir():
        st.info(
            f"They came from {escape_markdown(str(seen.folder))}, which is not there any more. "
            "The project keeps the ones it was scored at; to score others, put the folder back."
        )
        return None
    curve = st.container()
    steps = _choose_own_steps(run, seen)
    with curve:
        draw_loss_curve(
            list(seen.by_step.values()),
            total=max(int(epoch["epoch"]) for epoch in seen.by_step.values()),
            marks=_own_marks(seen, steps),
            key=f"own-checkpoints-{run.id}",
        )
    by_rates, rate = _choose_rates(seen, steps)
    if tuple(steps) == seen.chosen and by_rates == (run.config.get("rates") == "recorded"):
        st.caption("The current run was scored at these. Choose others to score again.")
        return None
    if not steps:
        st.caption("Choose at least one checkpoint.")
        return None
    model = run.config["model"]
    agreed = agree_to_network(model, place="own-steps")
    if not st.button("Score at these checkpoints", key="score-own", disabled=not agreed):
        return None
    return WorkOptions(
        model=f"{model['file']}:{model['function']}",
        checkpoints=str(seen.folder),
        learning_rate_of_checkpoints=rate,
        steps=tuple(steps),
        rates="recorded" if by_rates else "ones",
        run_my_code=agreed,
    )


def find_seen(project: Project, run: Run) -> SeenCheckpoints | None:
    """Return what is known about a person's checkpoints; None where the run has none of theirs.

    A scoring at chosen checkpoints has looked at these only, so what earlier runs of the same
    network and folder have seen belongs to it.
    """
    folder = (run.config.get("training") or {}).get("checkpoints")
    if not needs_consent(run.config.get("model")) or not isinstance(folder, str):
        return None
    by_step: dict[int, Mapping[str, Any]] = {}
    for other in list_runs(get_engine(), project.id):
        if _network_of(other) == _network_of(run):
            by_step |= {int(e["step"]): e for e in _read_epochs(project, other)} | by_step
    if not by_step:
        return None
    entries = {int(entry["step"]): str(entry.get("reason", "")) for entry in run.checkpoints}
    ordered = dict(sorted(by_step.items()))
    return SeenCheckpoints(Path(folder), ordered, tuple(sorted(entries)), entries)


def _network_of(run: Run) -> tuple[Any, Any]:
    training = run.config.get("training") or {}
    return run.config.get("model"), training.get("checkpoints")


def _read_epochs(project: Project, run: Run) -> tuple[Mapping[str, Any], ...]:
    try:
        return tuple(RunFolder(run_folder(project, run)).read_config().epochs)
    except RunFolderError:
        return ()  # its files were deleted; the other runs may have seen as much


def _choose_own_steps(run: Run, seen: SeenCheckpoints) -> list[int]:
    def name(step: int) -> str:
        epoch = seen.by_step[step]
        loss = epoch.get("train_loss")
        said = [f"train loss {score_text(float(loss))}"] if loss is not None else []
        mark = " (scored)" if step in seen.chosen else ""
        return f"Step {step:,}: {', '.join([*said, *describe_quality(epoch)])}{mark}"

    key = f"own-steps-{run.id}"
    if key not in st.session_state:
        st.session_state[key] = [step for step in seen.by_step if step in seen.chosen]
    chosen = st.multiselect(
        "Checkpoints to score with",
        list(seen.by_step),
        format_func=name,
        key=key,
        persist_state="session",
    )
    return sorted(chosen)


def _choose_rates(seen: SeenCheckpoints, steps: list[int]) -> tuple[bool, float | None]:
    """Draw whether checkpoints count by their learning rates, which files may lack."""
    by_rates = st.checkbox(
        "Weight each checkpoint by its learning rate",
        key="own-by-rates",
        help="As the paper does. With well chosen checkpoints, equal weights ranked label errors "
        "better.",
    )
    unknown = [step for step in steps if seen.by_step[step].get("learning_rate") is None]
    if not by_rates or not unknown:
        return by_rates, None
    rate = st.number_input(
        "Learning rate, where the files lack it",
        min_value=0.0,
        value=None,
        format="%g",
        key="own-steps-rate",
        placeholder="from the files",
        width=_RATE_WIDTH,
    )
    return by_rates, rate


def _own_marks(seen: SeenCheckpoints, steps: list[int]) -> list[CheckpointMark]:
    return [
        CheckpointMark(
            epoch=float(epoch["epoch"]),
            train_loss=epoch.get("train_loss"),
            chosen=step in steps,
            reason=seen.reasons.get(step, ""),
        )
        for step, epoch in seen.by_step.items()
    ]
