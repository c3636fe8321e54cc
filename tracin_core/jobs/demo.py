"""Build a demo project: data, media, training, scoring, registration; resumable everywhere.

Each stage appears whole or not at all and is skipped when it is there, so a build that was
killed at any moment goes on from its last finished stage. The project enters the database at
the end: what the pages show is complete.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.errors import NotFoundError
from tracin_core.files import disk_errors_explained
from tracin_core.jobs.demo_data import (
    DemoOptions,
    PreparedDemo,
    check_record,
    files_are_there,
    find_project,
    prepare_demo,
)
from tracin_core.jobs.locking import project_locked
from tracin_core.jobs.progress import OnProgress, Progress, ignore_progress
from tracin_core.jobs.registering import register_scored_run
from tracin_core.jobs.stored_examples import digest_examples, of_split
from tracin_core.reviews.database import open_database
from tracin_core.reviews.examples import find_by_positions
from tracin_core.reviews.projects import (
    NewExample,
    Project,
    add_examples,
    create_project,
    current_run,
)
from tracin_core.runs import RunFolder


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
    waiting = Progress("waiting for another process that builds this project", 0, 1)
    with (
        disk_errors_explained(workspace.root),
        project_locked(workspace.project_folder(name), lambda: on_progress(waiting)),
    ):
        engine = open_database(workspace.database_url)
        try:
            finished = _find_finished(name, workspace, engine, options)
            run_key = finished or _build(name, workspace, engine, options, on_progress)
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
    on_progress(Progress("reading the data", 0, 1))
    prepared = prepare_demo(name, workspace, engine, options)
    on_progress(Progress("reading the data", 1, 1))
    folder = _train_and_score(prepared, workspace, on_progress)
    on_progress(Progress("entering the results", 0, 1))
    run_key = _register(prepared, engine, folder)
    on_progress(Progress("entering the results", 1, 1))
    return run_key


def _train_and_score(
    prepared: PreparedDemo, workspace: Workspace, on_progress: OnProgress
) -> RunFolder:
    # torch, four seconds of it, is needed only here.
    from tracin_core.jobs.scoring import score_run
    from tracin_core.jobs.sharding import SplitSource
    from tracin_core.jobs.training import encode_splits, train_network

    folder = workspace.project_folder(prepared.slug)
    encoder, datasets = encode_splits(prepared.kind, prepared.examples)
    network = train_network(
        folder / "training",
        kind=prepared.kind,
        classes=prepared.classes,
        encoder=encoder,
        datasets=datasets,
        data_hash=prepared.data_hash,
        on_progress=on_progress,
    )
    sources = [
        SplitSource(
            split=split,
            examples=dataset,
            digests=digest_examples(of_split(prepared.examples, split)),
        )
        for split, dataset in datasets.items()
    ]
    return score_run(
        folder / "runs", network, sources, data_hash=prepared.data_hash, on_progress=on_progress
    ).folder


def _register(prepared: PreparedDemo, engine: Engine, folder: RunFolder) -> str:
    project = find_project(engine, prepared.slug) or _create_project(prepared, engine)
    _add_examples(prepared, engine, project)
    return register_scored_run(engine, project.id, folder).key


def _create_project(prepared: PreparedDemo, engine: Engine) -> Project:
    return create_project(
        engine,
        slug=prepared.slug,
        title=prepared.title,
        kind=prepared.kind,
        classes=prepared.classes,
        description=prepared.description,
    )


def _add_examples(prepared: PreparedDemo, engine: Engine, project: Project) -> None:
    """Enter the examples, unless an earlier, killed build has done it."""
    try:
        find_by_positions(engine, project.id, None, "train", [0])
    except NotFoundError:
        add_examples(
            engine,
            project.id,
            (
                NewExample(
                    key=example.key,
                    split=example.split,
                    position=example.position,
                    given_label=example.given_label,
                    text=example.content if isinstance(example.content, str) else None,
                    media_path=example.media_path,
                )
                for example in prepared.examples
            ),
        )
