"""Train, score and rescore a project in the database; torch is imported inside the functions.

After labels have changed, a rescoring computes the changed examples and takes the other rows from
the current run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from relabel.db.project_rules import Project
from relabel.db.projects import get_project
from relabel.db.runs import Run, current_run
from relabel.errors import NotFoundError
from relabel.files import explain_disk_errors
from relabel.fitting.options import WorkOptions
from relabel.fitting.saved import find_newest_training
from relabel.fitting.stored import ProjectExamples, read_project
from relabel.locks import wait_for_project
from relabel.models.registry import find_network
from relabel.models.user.config import Consent
from relabel.progress import OnProgress, ignore_progress
from relabel.runs.folder import RunFolder
from relabel.runs.held_out import copy_held_out, drop_held_out, read_summary, write_reason
from relabel.workspace import Workspace, find_program_name
from tracin_core.errors import ConfigurationError

if TYPE_CHECKING:
    from relabel.fitting.network import TrainedNetwork
    from relabel.scoring.engine import EngineChoice


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
    with lock_project(workspace, slug, on_progress):
        project = get_project(engine, slug)
        examples = _read(engine, workspace, project, options, on_progress)
        # torch, four seconds of it, is needed only from here on.
        from relabel.crossval.run import cross_validate
        from relabel.fitting.training import check_targets, train_network

        folder = workspace.project_folder(slug)
        check_targets(project, examples)
        work = (folder, project, examples)
        if options.folds != 0 and options.model == "auto":
            asked = cross_validate(*work, options, on_progress)
            chosen = choose_by_agreement(asked, options)
            training = train_network(*work, chosen, on_progress)
            copy_held_out(asked, training)
            return training
        # A network that was named stands; what is wrong with it shows at once.
        training = train_network(*work, options, on_progress)
        ask_beside(training, *work, options, on_progress)
        return training


def ask_beside(
    target: Path,
    folder: Path,
    project: Project,
    examples: ProjectExamples,
    options: WorkOptions,
    on_progress: OnProgress,
) -> None:
    """Cross-validate beside a network that stands anyway, and put the result into its folder.

    Where nobody can be asked, why is written there, and told with the run.

    Args:
        target: The network's folder.
        folder: The project's.
        project: The project.
        examples: Its examples.
        options: What the person chose.
        on_progress: Told about every fit.

    Raises:
        ConfigurationError: If features that a person asked for cannot be had.
    """
    from relabel.crossval.run import NothingToAskError, cross_validate

    if options.folds == 0:
        drop_held_out(target)
        return
    try:
        asked = cross_validate(folder, project, examples, options, on_progress)
    except NothingToAskError as error:
        write_reason(target, str(error))
    else:
        copy_held_out(asked, target)


def choose_by_agreement(asked: Path, options: WorkOptions) -> WorkOptions:
    """Return the options with the network whose kind agreed most with the given labels.

    Args:
        asked: Folder of the cross-validation.
        options: What the person chose, with the model left open.
    """
    summary = read_summary(asked)
    if summary is None or not summary.network:
        return options
    network = find_network(summary.network)
    takes_features = network is not None and network.takes == "features"
    # Weights that a person gave are a backbone's, or those that another network begins with.
    is_beginning = options.weights is not None and not takes_features
    return options if is_beginning else replace(options, model=summary.network)


def score_project(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    options: WorkOptions,
    on_progress: OnProgress = ignore_progress,
) -> Run:
    """Score all examples of a project and make the result its current run.

    The checkpoints are those in ``options.checkpoints``, else of the newest finished training,
    else of the current run. Examples that an earlier run of the same specification has scored are
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
    with lock_project(workspace, slug, on_progress):
        project = get_project(engine, slug)
        folder = workspace.project_folder(slug)
        current = current_run(engine, project.id)
        base = None if current is None else RunFolder(folder / current.folder)
        examples = _read(engine, workspace, project, options, on_progress)
        network = _choose_network(workspace, project, examples, options, base, on_progress)
        if options.checkpoints is not None:  # what was trained here has been asked about there
            ask_beside(network.folder, folder, project, examples, options, on_progress)
        if options.last_layer is not None:
            network = replace(network, last_layer=options.last_layer)

        from relabel.fitting.data import open_datasets
        from relabel.scoring.entry import score_and_enter

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
            method_options=options.method_options,
            device=options.device,
            shard_engine=choose_engine(options),
            on_progress=on_progress,
        )
        return run


def assist_scoring(engine: Engine, workspace: Workspace, slug: str, options: WorkOptions) -> None:
    """Do the shards of a rank that is not the first of a scoring.

    The first rank is the one that scores the project, with its lock and its entry in the
    database; nothing is written here but the shards, beside the run that it makes.

    Args:
        engine: The database.
        workspace: Where the project's files are, on a disk that all ranks share.
        slug: The project.
        options: The same as on the first rank.

    Raises:
        NotFoundError: If there is no such project, or nothing is trained yet.
        ConfigurationError: If an option cannot work, or the first rank does not begin.
        GradientError: If a gradient is not finite.
    """
    if options.checkpoints is not None:
        raise ConfigurationError(
            "Found --checkpoints with the engine ranks, and each rank would read them in; expected "
            "a network that was trained here. Choose the engine pool, dask or ray."
        )
    project = get_project(engine, slug)
    folder = workspace.project_folder(slug)
    current = current_run(engine, project.id)
    base = None if current is None else RunFolder(folder / current.folder)
    examples = _read(engine, workspace, project, options, ignore_progress)
    network = _choose_network(workspace, project, examples, options, base, ignore_progress)
    if options.last_layer is not None:
        network = replace(network, last_layer=options.last_layer)

    from relabel.fitting.data import list_sources, read_on_demand
    from relabel.scoring.run import assist_run

    datasets = read_on_demand(folder, network.encoder, examples, network.target_scale)
    assist_run(
        folder / "runs",
        network,
        list_sources(examples, datasets),
        data_hash=examples.data_hash,
        base=base,
        engine=choose_engine(options),
        device=options.device,
        layers=options.layers,
        rates=options.rates,
        method=options.method,
        method_options=options.method_options,
    )


def choose_engine(options: WorkOptions) -> EngineChoice:
    """Return what does the shards, as a person chose it."""
    from relabel.scoring.engine import EngineChoice

    return EngineChoice(name=options.engine, workers=options.workers, address=options.address)


@contextmanager
def lock_project(workspace: Workspace, slug: str, on_progress: OnProgress) -> Iterator[None]:
    """Hold the project's lock, and explain a full disk."""
    folder = workspace.project_folder(slug)
    with explain_disk_errors(folder), wait_for_project(workspace, slug, on_progress):
        yield


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
    from relabel.fitting.network import open_network, open_training

    if options.checkpoints is not None:
        from relabel.fitting.data import open_own_examples
        from relabel.fitting.training import describe_own
        from relabel.fitting.user_network import network_from_checkpoints

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
    newest = find_newest_training(workspace, project.slug)
    if newest is not None:
        return open_training(newest, options.steps, run_my_code=options.run_my_code)
    if base is not None and options.steps is None:
        return open_network(base, run_my_code=options.run_my_code)
    raise NotFoundError(
        f"The project {project.slug} has no finished training; expected checkpoints to score "
        f"with. Train it first: {find_program_name()} train {project.slug}"
    )


@dataclass(frozen=True)
class RescoredProject:
    """A project's new current run.

    Attributes:
        run: As it is in the database.
        examples_computed: Examples whose label or content had changed.
        rows_computed: The same times the checkpoints.
    """

    run: Run
    examples_computed: int
    rows_computed: int


def rescore_project(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    *,
    run_my_code: Consent = False,
    on_progress: OnProgress = ignore_progress,
) -> RescoredProject:
    """Compute a project's scores again for the labels in force after the decisions.

    The checkpoints stay as they are, and with them the numbers of all examples whose label has
    not changed; those are taken from the current run. If that one is damaged or was made by
    a program that computes other numbers, every example is computed.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        run_my_code: Whether the person has agreed to run the file of their own network, or the
            digest of the file that they agreed to.
        on_progress: Told about every batch.

    Returns:
        The run with the new scores, which is now the current one.

    Raises:
        NotFoundError: If there is no such project, or it has no run yet.
        RunFolderError: If the current run's ``run.json`` is damaged.
        WorkspaceError: If an image is missing, or the disk is full.
    """
    project = get_project(engine, slug)
    folder = workspace.project_folder(slug)
    with lock_project(workspace, slug, on_progress):
        current = current_run(engine, project.id)
        if current is None:
            raise NotFoundError(
                f"The project {slug} has no scores yet; expected a run whose checkpoints can be "
                "used. Score it first."
            )
        examples = read_project(
            engine, project, workspace.media_folder(slug), "current", on_progress
        )
        # torch, four seconds of it, is needed only here.
        from relabel.fitting.data import read_on_demand
        from relabel.fitting.network import open_network
        from relabel.scoring.entry import score_and_enter

        base = RunFolder(folder / current.folder)
        config = base.read_config()
        network = open_network(base, run_my_code=run_my_code)
        # Those that are not in the cache are encoded when they are read: of most, only the
        # digest is needed.
        datasets = read_on_demand(folder, network.encoder, examples, network.target_scale)
        run, scored = score_and_enter(
            engine,
            project,
            folder,
            network,
            examples,
            datasets,
            base=base,
            layers=config.layer_choice,
            rates=config.rates,
            method=config.method,
            method_options=config.method_configuration,
            on_progress=on_progress,
        )
    return RescoredProject(run, sum(scored.num_computed.values()), scored.rows_computed)
