"""What a scoring will cost, said before it starts; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.fitting.stored_examples import count_examples
from tracin_core.fitting.trainings import TrainingInfo, find_newest
from tracin_core.fitting.work_options import WorkOptions
from tracin_core.reviews.projects import Project, current_run, get_project

# A scoring pass over an example, beside a training pass over it. On two cores it took 1.2 times
# as long for a small convolutional network and 0.9 times for an MLP (docs/benchmarks.md); the
# projections and what is written come on top.
PASS_RATIO = 1.5
# Bytes of an example: the digest, and for each checkpoint a row of signals.
DIGEST_BYTES, SIGNAL_BYTES = 16, 24
# Numbers of a projected vector; those of the last layer are exact up to a limit, and the
# built-in networks have 64 features and a bias before it.
PROJECTED, EXACT_UP_TO, FEATURES = 512, 8192, 65
# Classes whose probabilities are stored for every example at most (see runs.probabilities).
STORED_CLASSES = 256


@dataclass(frozen=True)
class Estimate:
    """What a scoring is likely to cost.

    Attributes:
        seconds: On this machine as it was lately; None where there is nothing to go by.
        num_examples: Examples of both splits.
        num_checkpoints: Checkpoints that each of them is scored at; 0 where none are known yet.
        bytes_on_disk: What the run's folder will take, beside the checkpoints.
    """

    seconds: float | None
    num_examples: int
    num_checkpoints: int
    bytes_on_disk: int


def estimate_scoring(
    engine: Engine, workspace: Workspace, slug: str, options: WorkOptions
) -> Estimate:
    """Estimate what scoring a project costs, from an earlier run or from its training.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        options: What the person chose.

    Raises:
        NotFoundError: If there is no such project.
    """
    project = get_project(engine, slug)
    counts = count_examples(engine, project.id)
    num_examples = sum(counts.values())
    training = None if options.checkpoints else find_newest(workspace, slug)
    num_checkpoints = _count_checkpoints(options, training)
    per_row = _time_rows(engine, project, training, counts["train"])
    seconds = None if per_row is None else per_row * num_examples * num_checkpoints
    num_bytes = num_examples * _count_bytes(len(project.classes), num_checkpoints)
    return Estimate(seconds, num_examples, num_checkpoints, num_bytes)


def _count_bytes(num_classes: int, num_checkpoints: int) -> int:
    """Return what an example takes on the disk."""
    exact = num_checkpoints * FEATURES * max(num_classes, 1)
    numbers = PROJECTED + (exact if exact <= EXACT_UP_TO else PROJECTED)
    numbers += min(num_classes, STORED_CLASSES)
    return 4 * numbers + DIGEST_BYTES + SIGNAL_BYTES * num_checkpoints


def _count_checkpoints(options: WorkOptions, training: TrainingInfo | None) -> int:
    if options.steps is not None:
        return len(set(options.steps))
    if options.checkpoints is not None:
        folder = Path(options.checkpoints)
        found = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
        return min(found, options.num_checkpoints or 8)
    return 0 if training is None else len(training.chosen)


def _time_rows(
    engine: Engine, project: Project, training: TrainingInfo | None, num_train: int
) -> float | None:
    """Return seconds for an example at a checkpoint, or None where nothing is known."""
    run = current_run(engine, project.id)
    if run is not None and (training is None or _is_of(run.config, training)):
        timings, counts = run.config.get("timings", {}), run.config.get("counts", {})
        rows = sum(counts.values()) * len(run.checkpoints)
        spent = sum(timings.get(f"score_{split}", 0.0) for split in counts)
        if rows and spent:
            return float(spent / rows)
    if training is not None and training.epochs and num_train:
        return PASS_RATIO * training.seconds / (len(training.epochs) * num_train)
    return None


def _is_of(config: dict[str, object], training: TrainingInfo) -> bool:
    model = config.get("model")
    return isinstance(model, dict) and model.get("name") == training.model
