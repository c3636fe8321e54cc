"""The trainings of a project on the disk, and which network its next scoring takes.

Read without torch and without running anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from relabel.db.project_rules import Project
from relabel.db.runs import current_run
from relabel.workspace import Workspace

NETWORK_FILE = "network.json"
COURSE_FILE = "training.json"


@dataclass(frozen=True, kw_only=True)
class TrainingInfo:
    """One training, which may still be going on.

    Attributes:
        folder: Its files.
        model: Name of the network.
        epochs: Of each epoch so far: ``epoch``, ``step``, ``learning_rate``, ``train_loss`` and
            what the network reached on the test examples.
        planned_epochs: Epochs it will have, unless it stops early or further rounds are trained.
        finished: Whether it has ended and the checkpoints are chosen.
        steps_on_disk: Steps whose checkpoints are there.
        chosen: The recommended checkpoints: as in ``epochs``, with ``file`` and ``reason``.
        config: Options of the training, as JSON.
        requested_at: When it was asked for last: UTC, ISO 8601.
        seconds: What its epochs took.
        quality: How good the network is and why the training ended, as it wrote it down; empty
            while it goes on, and for trainings of earlier versions.
    """

    folder: Path
    model: str
    epochs: tuple[Mapping[str, Any], ...]
    planned_epochs: int
    finished: bool
    steps_on_disk: tuple[int, ...]
    chosen: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]
    requested_at: str
    seconds: float
    quality: Mapping[str, Any]

    @property
    def chosen_steps(self) -> tuple[int, ...]:
        """Return the steps of the recommended checkpoints."""
        return tuple(int(entry["step"]) for entry in self.chosen)


def list_trainings(workspace: Workspace, slug: str) -> list[TrainingInfo]:
    """Return a project's trainings, the one asked for last at the end.

    A folder whose files are missing or damaged is left out: it is trained again when it is
    asked for.
    """
    folders = workspace.project_folder(slug).glob(f"training/*/{NETWORK_FILE}")
    found = [read_training(path.parent) for path in folders]
    return sorted((info for info in found if info), key=lambda info: info.requested_at)


def find_newest_training(workspace: Workspace, slug: str) -> TrainingInfo | None:
    """Return the finished training that was asked for last and has its checkpoints."""
    whole = [
        info
        for info in list_trainings(workspace, slug)
        if info.finished and set(info.chosen_steps) <= set(info.steps_on_disk)
    ]
    return whole[-1] if whole else None


def read_training(folder: Path) -> TrainingInfo | None:
    """Return the training in a folder; None where its files are missing or damaged."""
    try:
        about = json.loads((folder / NETWORK_FILE).read_bytes())
        course = json.loads((folder / COURSE_FILE).read_bytes())
        return TrainingInfo(
            folder=folder,
            model=str(about["title"]),
            epochs=tuple(course["epochs"]),
            planned_epochs=_plan_epochs(course),
            finished=bool(course["finished"]),
            steps_on_disk=_find_steps(folder, course["epochs"]),
            chosen=tuple(course["checkpoints"]),
            config=course["config"],
            requested_at=str(about["requested_at"]),
            seconds=float(sum(course["seconds"])),
            quality=dict(course.get("quality") or {}),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        return None
    except RecursionError:  # JSON nested without end
        return None


def _plan_epochs(course: Mapping[str, Any]) -> int:
    """Return the epochs of a training; while it goes on, those of the rounds begun so far."""
    done, a_round = len(course["epochs"]), int(course["config"]["epochs"])
    if course["finished"]:
        # One that was to stop early keeps its plan, so that the curve shows that it did.
        return max(done, a_round)
    return max(1, -(-done // a_round)) * a_round


def _find_steps(folder: Path, epochs: list[Mapping[str, Any]]) -> tuple[int, ...]:
    steps = (int(epoch["step"]) for epoch in epochs)
    return tuple(s for s in steps if (folder / "checkpoints" / f"step-{s:06d}.pt").is_file())


def read_model(training: TrainingInfo) -> Mapping[str, Any] | None:
    """Return the configuration of a training's network; None where its file is damaged."""
    try:
        model = json.loads((training.folder / NETWORK_FILE).read_bytes())["model"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return model if isinstance(model, dict) else None


def find_saved_model(
    engine: Engine, workspace: Workspace, project: Project, *, of_run: bool
) -> Mapping[str, Any] | None:
    """Return the configuration of the network that is scored when none is named.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        project: The project.
        of_run: Whether it is that of the current run, as when scores are brought up to decisions;
            otherwise that of the newest training goes first.

    Returns:
        None where there is none, or its file is damaged: the work itself says so.
    """
    newest = None if of_run else find_newest_training(workspace, project.slug)
    if newest is not None:
        return read_model(newest)
    run = current_run(engine, project.id)
    model = None if run is None else run.config.get("model")
    return model if isinstance(model, dict) else None
