"""Other checkpoints of a person's own training: those that an earlier scoring looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from tracin_core.errors import RunFolderError
from tracin_core.fitting.work_options import WorkOptions
from tracin_core.models.own import needs_consent
from tracin_core.reviews.projects import Project, Run
from tracin_core.reviews.run_choice import list_runs
from tracin_core.runs import RunFolder
from ui.curves import CheckpointMark, describe_quality, draw_loss_curve
from ui.own_model import agree_to_network
from ui.plain_text import escape_markdown
from ui.session import get_engine, run_folder
from ui.wording import score_text

_RATE_WIDTH = 260  # CSS pixels


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
    st.subheader("Checkpoints of your own training", anchor=False)
    if not seen.folder.is_dir():
        st.info(
            f"They came from {escape_markdown(str(seen.folder))}, which is not there any more. "
            "The project keeps the ones it was scored at; to score others, put the folder back."
        )
        return None
    curve = st.container()
    steps = _choose_steps(run, seen)
    with curve:
        draw_loss_curve(
            list(seen.by_step.values()),
            total=max(int(epoch["epoch"]) for epoch in seen.by_step.values()),
            marks=_marks(seen, steps),
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


def _choose_steps(run: Run, seen: SeenCheckpoints) -> list[int]:
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


def _marks(seen: SeenCheckpoints, steps: list[int]) -> list[CheckpointMark]:
    return [
        CheckpointMark(
            epoch=float(epoch["epoch"]),
            train_loss=epoch.get("train_loss"),
            chosen=step in steps,
            reason=seen.reasons.get(step, ""),
        )
        for step, epoch in seen.by_step.items()
    ]
