"""Run contenders on a scored project, one after the other. Imports torch.

What a contender has computed is on the disk before the next one begins: killed at any moment, the
same call goes on there, and another comparison of the run computes only what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy import Engine

from relabel.comparison.bench import STAGE, Bench, Place
from relabel.comparison.contenders import choose_contenders
from relabel.comparison.options import CompareOptions
from relabel.comparison.saved import (
    Comparison,
    find_folder,
    name_example,
    require_comparison,
    write_comparison,
)
from relabel.comparison.truth import find_truth, mark_wrong
from relabel.db.examples import get_example
from relabel.db.project_rules import Project
from relabel.db.projects import get_project
from relabel.db.runs import Run, current_run
from relabel.errors import NotFoundError
from relabel.fitting.data import open_datasets
from relabel.fitting.network import open_network
from relabel.fitting.stored import ProjectExamples, read_project
from relabel.models.user.config import Consent
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.runs.config import RunConfig
from relabel.runs.folder import RunFolder
from relabel.scoring.project import lock_project
from relabel.text import SPLITS, Split
from relabel.training.threads import limit_threads_for
from relabel.workspace import Workspace, find_program_name
from tracin_core.errors import ConfigurationError


def compare_methods(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    options: CompareOptions,
    *,
    run_my_code: Consent = False,
    on_progress: OnProgress = ignore_progress,
) -> Comparison:
    """Run contenders on a project's current run and keep what came of them in its folder.

    A method that fails on this network is kept with its reason, and the others go on.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        options: What the person chose.
        run_my_code: Whether the person has agreed to run the file of their own network, or the
            digest of the file that they agreed to.
        on_progress: Told about every batch; what it raises ends the work.

    Raises:
        NotFoundError: If there is no such project or example, or the project is not scored.
        ConfigurationError: If there is no such method, or the labels have changed since the run.
        InputError: If a file with the truth cannot be read.
        WorkspaceError: If an image is missing, or the disk is full.
    """
    with lock_project(workspace, slug, on_progress):
        project = get_project(engine, slug)
        run = current_run(engine, project.id)
        if run is None:
            raise NotFoundError(
                f"The project {slug} has no scores yet; expected a run whose network can be "
                f"explained. Score it first: {find_program_name()} train {slug}"
            )
        folder = RunFolder(workspace.project_folder(slug) / run.folder)
        config = folder.read_config()
        contenders = choose_contenders(options.methods, config.task)
        also = [_place_example(engine, project, run, one) for one in options.also]
        drawn = draw_examples(config.counts, options.examples, options.seed)
        network = open_network(folder, run_my_code=run_my_code)
        examples = _read_as_scored(engine, workspace, project, config, on_progress)
        train = examples.splits["train"]
        truth, source = find_truth(
            workspace.truth_path(slug),
            project.classes,
            Path(options.truth) if options.truth else None,
        )
        datasets = open_datasets(
            workspace.project_folder(slug),
            network.encoder,
            examples,
            scale=network.target_scale,
            on_progress=on_progress,
        )
        bench = Bench(engine, run, folder, network, datasets, options.device, on_progress)
        places = list(dict.fromkeys([*drawn, *also]))
        with limit_threads_for(network.model):
            for number, contender in enumerate(contenders):
                bench.report(number, len(contenders))
                bench.run_contender(contender, places)
        on_progress(Progress(STAGE, len(contenders), len(contenders)))
        write_comparison(
            find_folder(folder),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            names=[one.name for one in contenders],
            labels=train.targets,
            wrong=mark_wrong(truth, bench.keys, train.targets),
            drawn=[name_example(*place) for place in drawn],
            truth=source,
        )
        return require_comparison(folder)


def draw_examples(counts: Mapping[str, int], number: int, seed: int) -> list[Place]:
    """Return some examples at random: of the test split, or of the train split without one.

    More of them with the same seed begin with the fewer, so that these need not be explained again.
    """
    split: Split = "test" if counts["test"] else "train"
    order = np.random.default_rng(seed).permutation(counts[split])
    return [(split, position) for position in order[:number].tolist()]


def _place_example(engine: Engine, project: Project, run: Run, example_id: int) -> Place:
    view = get_example(engine, example_id, run.id)
    if view.project_id != project.id or view.split not in SPLITS:
        raise NotFoundError(
            f"Example {example_id} is none of the project {project.slug}. Choose one of its "
            "numbers, which the address of Inspect shows."
        )
    return view.split, view.position


def _read_as_scored(
    engine: Engine,
    workspace: Workspace,
    project: Project,
    config: RunConfig,
    on_progress: OnProgress,
) -> ProjectExamples:
    """Return the examples with the labels that the run was scored with.

    Raises:
        ConfigurationError: If these are neither the given labels nor those in force.
    """
    media = workspace.media_folder(project.slug)
    for labels in ("current", "given"):
        examples = read_project(engine, project, media, labels, on_progress)
        if examples.data_hash == config.data_hash:
            return examples
    raise ConfigurationError(
        f"The labels or examples of the project {project.slug} have changed since its run "
        f"{config.key} was scored; expected those that it was scored with. Score it again: "
        f"{find_program_name()} rescore {project.slug}"
    )
