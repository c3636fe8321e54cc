"""Build a demo project: data, media, training, scoring, registration; resumable everywhere.

Each stage appears whole or not at all and is skipped when it is there, so a build that was
killed at any moment goes on from its last finished stage. The project enters the database with
all of its examples, and its run when that is complete.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.files import disk_errors_explained
from tracin_core.fitting.work_options import WorkOptions
from tracin_core.jobs.demo_data import (
    DemoOptions,
    check_record,
    files_are_there,
    prepare_demo,
)
from tracin_core.reviews.database import open_database
from tracin_core.reviews.projects import current_run, find_project, get_project
from tracin_core.runs import RunFolder
from tracin_core.scoring.pipeline import score_locked, train_locked
from tracin_core.training.config import suggest_training
from tracin_core.work.interruptions import interruptions_kept
from tracin_core.work.locking import wait_for_project
from tracin_core.work.progress import OnProgress, Progress, ignore_progress


@dataclass(frozen=True)
class BuiltDemo:
    """A demo project that is ready for review.

    Attributes:
        slug: The project.
        run_key: Its current run.
        built: Whether anything had to be done.
        seconds: How long that took.
    """

    slug: str
    run_key: str
    built: bool
    seconds: float


def build_demo(
    name: str,
    workspace: Workspace,
    *,
    seed: int = 0,
    noise: float = 0.1,
    on_progress: OnProgress = ignore_progress,
) -> BuiltDemo:
    """Build, train and score a demo project, or what is missing of it.

    Args:
        name: "digits" or "docs".
        workspace: Where it is put.
        seed: Chooses the planted errors.
        noise: Share of train labels made wrong, 0 to 1.
        on_progress: Told about every step.

    Returns:
        The project, ready for review.

    Raises:
        WorkspaceError: If the workspace cannot be written or the disk is full.
        DatabaseError: If the database cannot be used.
        ConfigurationError: If the project is there with other planted errors.
    """
    start = time.monotonic()
    workspace.prepare()
    options = DemoOptions(seed, noise)
    with (
        interruptions_kept(on_progress) as tell,
        disk_errors_explained(workspace.root),
        wait_for_project(workspace, name, tell),
    ):
        engine = open_database(workspace.database_url)
        try:
            finished = _find_finished(name, workspace, engine, options)
            run_key = finished or _build(name, workspace, engine, options, tell)
        finally:
            engine.dispose()
    return BuiltDemo(name, run_key, finished is None, time.monotonic() - start)


def _find_finished(
    name: str, workspace: Workspace, engine: Engine, options: DemoOptions
) -> str | None:
    """Return the key of the project's current run if nothing is missing, without torch."""
    project = find_project(engine, name)
    if project is None:
        return None
    check_record(workspace, project, options)
    run = current_run(engine, project.id)
    if run is None or not files_are_there(workspace, name):
        return None
    folder = RunFolder(workspace.project_folder(name) / run.folder)
    return None if list(folder.find_problems()) else run.key


def _build(
    name: str,
    workspace: Workspace,
    engine: Engine,
    options: DemoOptions,
    on_progress: OnProgress,
) -> str:
    on_progress(Progress("making the data", 0, 1))
    prepare_demo(name, workspace, engine, options)
    on_progress(Progress("making the data", 1, 1))
    # As the data has them: the planted errors stay until a person asks for a rescore. The epochs
    # are fixed, because how many fit the time limit may differ from machine to machine.
    epochs = suggest_training(get_project(engine, name).kind).epochs  # type: ignore[arg-type]
    work = WorkOptions(labels="given", epochs=epochs)
    train_locked(engine, workspace, name, work, on_progress)
    return score_locked(engine, workspace, name, work, on_progress).key
