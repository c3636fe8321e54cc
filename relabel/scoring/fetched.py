"""Bringing a run that another machine has scored into a project here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
from sqlalchemy import Engine

from relabel.db.project_rules import Project
from relabel.db.projects import get_project
from relabel.db.runs import Run
from relabel.errors import NotFoundError, RunFolderError
from relabel.fitting.options import LabelChoice
from relabel.fitting.stored import read_project
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.runs.config import RunConfig
from relabel.runs.folder import RunFolder
from relabel.scoring.project import lock_project
from relabel.stores.address import StoreAddress
from relabel.stores.fetch import fetch_run, list_runs, read_manifest
from relabel.text import Split
from relabel.workspace import Workspace
from tracin_core.errors import InputError
from tracin_core.files import replace_folder

_LABELS: tuple[LabelChoice, ...] = ("given", "current")


def bring_run(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    store: StoreAddress,
    key: str | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Run:
    """Fetch a published run whole, and make it the project's current one.

    A stopped fetch goes on where it was. The run appears under its name when every file of it was
    checked, in place of one that had the name.

    Args:
        engine: The database.
        workspace: Where the project is.
        slug: The project, which has the same examples and labels here.
        store: Where the run was published.
        key: The run's; None for the last one by name, which begins with its date.
        on_progress: Told about every step.

    Raises:
        NotFoundError: If there is no such project, or no such complete run.
        StoreError: If the store cannot be used, or the run is damaged there.
        RunFolderError: If the run itself is damaged.
        InputError: If it was scored for other examples or labels.
        StorageError: If the disk is full.
    """
    with lock_project(workspace, slug, on_progress):
        project = get_project(engine, slug)
        manifest = read_manifest(store, slug, key or _find_last(store, slug))
        root = workspace.run_folder(slug, manifest.run)
        arriving = RunFolder(root.with_name(f".{manifest.run}.fetched"))
        fetch_run(store, manifest, arriving.root, on_progress)
        for problem in arriving.find_problems():
            raise problem
        config = arriving.read_config()
        if config.key != manifest.run:
            raise RunFolderError(
                f"The stored run {manifest.run} calls itself {config.key}; expected one name. "
                "Publish it again from where it was scored."
            )
        targets = _match_targets(engine, workspace, project, config, on_progress)
        replace_folder(arriving.root, root)

        from relabel.scoring.entry import register_scored_run

        on_progress(Progress("entering the results", 0, 1))
        run = register_scored_run(engine, project.id, RunFolder(root), targets)
        on_progress(Progress("entering the results", 1, 1))
        return run


def _find_last(store: StoreAddress, slug: str) -> str:
    keys = list_runs(store, slug)
    if not keys:
        raise NotFoundError(
            f"The store {store} has no complete run of project {slug}. Publish one from where it "
            "was scored, or see that the address and the project's name are the same."
        )
    return keys[-1]


def _match_targets(
    engine: Engine,
    workspace: Workspace,
    project: Project,
    config: RunConfig,
    on_progress: OnProgress,
) -> Mapping[Split, npt.NDArray[Any]]:
    """Return the project's labels that the run was scored for.

    Raises:
        InputError: If it was scored for other ones, or other examples.
    """
    media: Path = workspace.media_folder(project.slug)
    for labels in _LABELS:
        examples = read_project(engine, project, media, labels, on_progress)
        if examples.data_hash == config.data_hash:
            return {split: part.targets for split, part in examples.splits.items()}
    raise InputError(
        f"The run {config.key} was scored for other examples or labels than project {project.slug} "
        "has here; expected the same. Bring the project over with `backup` and `restore`, or score "
        "it here."
    )
