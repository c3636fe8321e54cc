"""Train and score any project in the database; torch is imported inside the functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.errors import NotFoundError
from tracin_core.files import disk_errors_explained
from tracin_core.fitting.stored_examples import ProjectExamples, read_project
from tracin_core.fitting.trainings import TrainingInfo, find_newest, list_trainings
from tracin_core.fitting.work_options import WorkOptions
from tracin_core.reviews.projects import Project, Run, current_run, get_project
from tracin_core.runs import RunFolder
from tracin_core.scoring.estimating import Estimate, estimate_scoring
from tracin_core.work.locking import wait_for_project
from tracin_core.work.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from tracin_core.fitting.networks import TrainedNetwork

__all__ = [
    "Estimate",
    "TrainingInfo",
    "WorkOptions",
    "estimate_scoring",
    "list_trainings",
    "score_project",
    "train_project",
]


def train_project(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    options: WorkOptions,
    on_progress: OnProgress = ignore_progress,
) -> Path:
    """Train the network that suits a project, or the one that was chosen.

    Killed at any moment, the same call goes on from the last finished epoch and ends with the
    same weights; a finished training is found again.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        options: What the person chose.
        on_progress: Told about every step; what it raises ends the work.

    Returns:
        The training's folder.

    Raises:
        NotFoundError: If there is no such project.
        ConfigurationError: If there is nothing to learn, or an option cannot work.
        InputError: If an example cannot be read.
        WorkspaceError: If an image is missing, or the disk is full.
    """
    with working_on(workspace, slug, on_progress):
        return train_locked(engine, workspace, slug, options, on_progress)


def score_project(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    options: WorkOptions,
    on_progress: OnProgress = ignore_progress,
) -> Run:
    """Score all examples of a project and make the result its current run.

    The checkpoints are those in ``options.checkpoints``, else of the newest finished training,
    else of the current run. Examples that an earlier run of the same making has scored are
    taken from it; killed at any moment, the same call goes on after the last finished shard and
    ends with the same numbers.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        options: What the person chose.
        on_progress: Told about every step; what it raises ends the work.

    Returns:
        The run as it is in the database.

    Raises:
        NotFoundError: If there is no such project, nothing is trained yet, or a chosen step has
            no checkpoint.
        ConfigurationError: If an option cannot work.
        CheckpointError: If a checkpoint cannot be loaded or does not fit the network.
        GradientError: If a gradient is not finite.
        InputError: If an example cannot be read.
        WorkspaceError: If an image is missing, or the disk is full.
    """
    with working_on(workspace, slug, on_progress):
        return score_locked(engine, workspace, slug, options, on_progress)


@contextmanager
def working_on(workspace: Workspace, slug: str, on_progress: OnProgress) -> Iterator[None]:
    """Hold the project's lock, and explain a full disk."""
    folder = workspace.project_folder(slug)
    with disk_errors_explained(folder), wait_for_project(workspace, slug, on_progress):
        yield


def train_locked(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    options: WorkOptions,
    on_progress: OnProgress = ignore_progress,
) -> Path:
    """Do what ``train_project`` does, for a caller that holds the project's lock."""
    project = get_project(engine, slug)
    examples = _read(engine, workspace, project, options, on_progress)
    # torch, four seconds of it, is needed only from here on.
    from tracin_core.fitting.training import train_network

    folder = workspace.project_folder(slug)
    return train_network(folder, project, examples, options, on_progress)


def score_locked(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    options: WorkOptions,
    on_progress: OnProgress = ignore_progress,
) -> Run:
    """Do what ``score_project`` does, for a caller that holds the project's lock."""
    project = get_project(engine, slug)
    folder = workspace.project_folder(slug)
    current = current_run(engine, project.id)
    base = None if current is None else RunFolder(folder / current.folder)
    examples = _read(engine, workspace, project, options, on_progress)
    network = _choose_network(workspace, project, examples, options, base, on_progress)
    if options.last_layer is not None:
        network = replace(network, last_layer=options.last_layer)

    from tracin_core.fitting.encoded import open_datasets
    from tracin_core.scoring.entering_scores import score_and_enter

    datasets = open_datasets(
        folder, network.encoder, examples, scale=network.target_scale, on_progress=on_progress
    )
    run, _ = score_and_enter(
        engine,
        project,
        folder,
        network,
        examples,
        datasets,
        base=base,
        layers=options.layers,
        rates=options.rates,
        method=options.method,
        device=options.device,
        on_progress=on_progress,
    )
    return run


def _read(
    engine: Engine,
    workspace: Workspace,
    project: Project,
    options: WorkOptions,
    on_progress: OnProgress,
) -> ProjectExamples:
    media = workspace.media_folder(project.slug)
    return read_project(engine, project, media, options.labels, on_progress)


def _choose_network(
    workspace: Workspace,
    project: Project,
    examples: ProjectExamples,
    options: WorkOptions,
    base: RunFolder | None,
    on_progress: OnProgress,
) -> TrainedNetwork:
    """Return the network whose checkpoints are to be scored with."""
    from tracin_core.fitting.networks import open_network, open_training

    if options.checkpoints is not None:
        from tracin_core.fitting.encoded import open_own_examples
        from tracin_core.fitting.own_network import network_from_checkpoints
        from tracin_core.fitting.training import describe_own

        encoder = describe_own(project, examples, options)
        return network_from_checkpoints(
            workspace.project_folder(project.slug) / "own",
            encoder,
            open_own_examples(encoder, examples),
            options,
            data_hash=examples.data_hash,
            target=project.target,
            on_progress=on_progress,
        )
    newest = find_newest(workspace, project.slug)
    if newest is not None:
        return open_training(newest, options.steps, run_my_code=options.run_my_code)
    if base is not None and options.steps is None:
        return open_network(base, run_my_code=options.run_my_code)
    raise NotFoundError(
        f"The project {project.slug} has no finished training; expected checkpoints to score "
        f"with. Train it first: python -m tracin_core train {project.slug}"
    )
