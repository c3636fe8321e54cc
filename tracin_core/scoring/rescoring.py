"""Score a project again after labels have changed: only the changed examples are computed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.errors import NotFoundError
from tracin_core.fitting.stored_examples import read_project
from tracin_core.models.own import Consent
from tracin_core.reviews.projects import Run, current_run, get_project
from tracin_core.runs import RunFolder
from tracin_core.scoring.pipeline import working_on
from tracin_core.work.progress import OnProgress, ignore_progress


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
    """Bring a project's scores up to the labels that are in force after the decisions.

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
    with working_on(workspace, slug, on_progress):
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
        from tracin_core.fitting.encoded import read_on_demand
        from tracin_core.fitting.networks import open_network
        from tracin_core.scoring.entering_scores import score_and_enter

        base = RunFolder(folder / current.folder)
        config = base.read_config()
        network = open_network(base, run_my_code=run_my_code)
        # Encoded when they are read: of most, only the digest is needed.
        datasets = read_on_demand(network.encoder, examples, network.target_scale)
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
