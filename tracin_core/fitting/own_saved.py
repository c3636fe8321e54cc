"""Which network a project's next scoring takes, read without torch and without running anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.fitting.trainings import NETWORK_FILE, TrainingInfo, find_newest
from tracin_core.reviews.projects import Project, current_run


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
    newest = None if of_run else find_newest(workspace, project.slug)
    if newest is not None:
        return read_model(newest)
    run = current_run(engine, project.id)
    model = None if run is None else run.config.get("model")
    return model if isinstance(model, dict) else None
