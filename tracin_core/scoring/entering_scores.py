"""The last steps of every scoring of a project: compute, then enter. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from tracin_core.fitting.encoded import Datasets
from tracin_core.fitting.example_source import SplitSource
from tracin_core.fitting.networks import TrainedNetwork
from tracin_core.fitting.stored_examples import ProjectExamples
from tracin_core.influence.attributor import DEFAULT_METHOD
from tracin_core.reviews.projects import Project, Run
from tracin_core.runs import RunFolder
from tracin_core.runs.config import Rates
from tracin_core.scoring.making import NO_OPTIONS
from tracin_core.scoring.registering import register_scored_run
from tracin_core.scoring.scoring import ScoredRun, score_run
from tracin_core.terms import LayerChoice
from tracin_core.work.progress import OnProgress, Progress


def score_and_enter(
    engine: Engine,
    project: Project,
    folder: Path,
    network: TrainedNetwork,
    examples: ProjectExamples,
    datasets: Datasets,
    *,
    base: RunFolder | None,
    layers: LayerChoice,
    rates: Rates,
    method: str = DEFAULT_METHOD,
    method_options: Mapping[str, Any] = NO_OPTIONS,
    device: str = "auto",
    on_progress: OnProgress,
) -> tuple[Run, ScoredRun]:
    """Score a project's examples and make the result its current run.

    Args:
        engine: The database.
        project: The project.
        folder: Its folder, whose lock is held.
        network: What it is scored with.
        examples: What is known about each example.
        datasets: Their inputs and targets, by split.
        base: An earlier run whose rows are taken where nothing has changed.
        layers: Whose norms and vectors are computed.
        rates: Weight of each checkpoint in the vectors.
        method: Name of the attribution method.
        method_options: Its own options, by name.
        device: Where to compute.
        on_progress: Told about every batch.

    Returns:
        The run as it is in the database, and what it took.
    """
    scored = score_run(
        folder / "runs",
        network,
        [
            SplitSource(split=split, examples=datasets[split], digests=part.digests)
            for split, part in examples.splits.items()
        ],
        data_hash=examples.data_hash,
        base=base,
        layers=layers,
        rates=rates,
        method=method,
        method_options=method_options,
        device=device,
        on_progress=on_progress,
    )
    on_progress(Progress("entering the results", 0, 1))
    run = register_scored_run(engine, project.id, scored.folder)
    on_progress(Progress("entering the results", 1, 1))
    return run, scored
