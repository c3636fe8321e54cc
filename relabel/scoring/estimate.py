"""What a scoring will cost in time and space, said before it starts; without torch.

That depends on how a run keeps its vectors, which is decided here too: exact where they are
affordable, else projected.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from relabel.db.project_rules import Project
from relabel.db.projects import get_project
from relabel.db.runs import Run, current_run
from relabel.fitting.options import WorkOptions
from relabel.fitting.saved import TrainingInfo, find_newest_training
from relabel.fitting.stored import count_examples
from relabel.runs.config import ProjectionEntry, list_scored_layers
from relabel.text import LayerChoice, format_bytes
from relabel.workspace import Workspace
from tracin_core.projection import EXACT_LAST_NUMBERS

# An error of 6% in a dot product, relative to the product of the norms, for 2 KB an example.
PROJECTION = ProjectionEntry(dim=512, seed=0)
# For the exact last-layer vectors of all examples together: 12,300 examples of ten classes at eight
# checkpoints. A search through all of them takes 36 ms on one core, within what an exact search
# may take (EXACT_SECONDS of retrieval); beyond that an index is built, as large as the vectors.
# With 60,000 train and 10,000 test examples the run took 2.9 GB on the disk, half of it the index,
# 2.8 GB of memory and 48 s for the index; with projected vectors 0.3 GB, 0.4 GB and 2 s.
EXACT_BYTES = 256_000_000
NUMBER_BYTES = 4  # float32, as stored


def choose_last_projection(
    numbers: int, num_examples: int, exact_bytes: int | None = None
) -> ProjectionEntry | None:
    """Decide how the last layer's vectors are kept; a run records it and all follow the record.

    Args:
        numbers: Of an exact vector, over all checkpoints.
        num_examples: Of both splits.
        exact_bytes: What the exact vectors of all of them may take; None for ``EXACT_BYTES``.

    Returns:
        The projection, or None for exact vectors.
    """
    if numbers <= PROJECTION.dim:  # projected ones would take as much
        return None
    budget = EXACT_BYTES if exact_bytes is None else exact_bytes
    fits = numbers * num_examples * NUMBER_BYTES <= budget
    return None if fits and numbers <= EXACT_LAST_NUMBERS else PROJECTION


# A scoring pass over an example, beside a training pass over it. On two cores it took 1.2 times
# as long for a small convolutional network and 0.9 times for an MLP (docs/benchmarks.md); the
# projections and what is written come on top.
PASS_RATIO = 1.5
# The last layer's alone, beside both. On one core it took 0.3 times as long for word embeddings and
# for a convolutional network with pictures of 8 x 8 pixels, and 0.4 times with 28 x 28.
LAST_SHARE = 0.4
# Bytes of an example: the digest, and for each checkpoint a row of signals.
DIGEST_BYTES, SIGNAL_BYTES = 16, 24
# Features and a bias before the last layer: those of most built-in networks, where no run of the
# network says it.
FEATURES = 65
# Of a run's examples, so many must have been computed for its time to say anything.
_SHARE_TIMED = 0.1
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
        exact_last_bytes: What the last layer's vectors take if they are exact.
        is_last_exact: Whether they are kept so, and not projected.
    """

    seconds: float | None
    num_examples: int
    num_checkpoints: int
    bytes_on_disk: int
    exact_last_bytes: int = 0
    is_last_exact: bool = True


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
    training = None if options.checkpoints else find_newest_training(workspace, slug)
    run = _find_like(current_run(engine, project.id), training)
    return _estimate(
        engine, project, run, training, options.layers, _count_checkpoints(options, training)
    )


def estimate_full_rescoring(engine: Engine, slug: str) -> Estimate | None:
    """Estimate a rescoring of a project that has outgrown the exact vectors of its run.

    Args:
        engine: The database.
        slug: The project.

    Returns:
        None where rows of the current run can be taken over, or there is none.

    Raises:
        NotFoundError: If there is no such project.
    """
    project = get_project(engine, slug)
    run = current_run(engine, project.id)
    if run is None or not run.config.get("last_numbers") or run.config["projection"]["last"]:
        return None
    layers: LayerChoice = (
        "both" if "all" in list_scored_layers(run.config.get("layers")) else "last"
    )
    estimate = _estimate(engine, project, run, None, layers, len(run.checkpoints))
    return None if estimate.is_last_exact else estimate


def explain_full_rescoring(estimate: Estimate) -> str:
    """Describe why nothing can be taken from the current run."""
    return (
        f"The last layer's exact vectors of {estimate.num_examples:,} examples would take "
        f"{format_bytes(estimate.exact_last_bytes)}, more than "
        f"{format_bytes(EXACT_BYTES)}. They become projected ones, so every "
        "example is computed again."
    )


def _estimate(
    engine: Engine,
    project: Project,
    run: Run | None,
    training: TrainingInfo | None,
    layers: LayerChoice,
    num_checkpoints: int,
) -> Estimate:
    counts = count_examples(engine, project.id)
    num_examples = sum(counts.values())
    per_row = _time_rows(run, training, counts["train"])
    seconds = None
    if per_row is not None:
        share = LAST_SHARE if layers == "last" else 1.0
        seconds = per_row * share * num_examples * num_checkpoints
    last_numbers = _count_last_numbers(project, run, num_checkpoints)
    is_exact = choose_last_projection(last_numbers, num_examples) is None
    numbers = last_numbers if is_exact else PROJECTION.dim
    numbers += PROJECTION.dim if layers == "both" else 0
    numbers += min(len(project.classes), STORED_CLASSES)
    each = NUMBER_BYTES * numbers + DIGEST_BYTES + SIGNAL_BYTES * num_checkpoints
    return Estimate(
        seconds,
        num_examples,
        num_checkpoints,
        num_examples * each,
        NUMBER_BYTES * last_numbers * num_examples,
        is_exact,
    )


def _count_last_numbers(project: Project, run: Run | None, num_checkpoints: int) -> int:
    """Return the numbers of an exact last-layer vector, over all checkpoints."""
    known = 0 if run is None else int(run.config.get("last_numbers") or 0)
    if run is not None and known:
        return known // len(run.checkpoints) * num_checkpoints
    return num_checkpoints * FEATURES * max(len(project.classes), 1)


def _count_checkpoints(options: WorkOptions, training: TrainingInfo | None) -> int:
    if options.steps is not None:
        return len(set(options.steps))
    if options.checkpoints is not None:
        folder = Path(options.checkpoints)
        found = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
        return min(found, options.num_checkpoints or 8)
    return 0 if training is None else len(training.chosen)


def _find_like(run: Run | None, training: TrainingInfo | None) -> Run | None:
    """Return the run if it is of the network that the training made."""
    if run is None or training is None:
        return run
    model = run.config.get("model")
    return run if isinstance(model, dict) and model.get("name") == training.model else None


def _time_rows(run: Run | None, training: TrainingInfo | None, num_train: int) -> float | None:
    """Return seconds for an example at a checkpoint, layers of both sorts; None if not known."""
    if run is not None:
        timings, counts = run.config.get("timings", {}), run.config.get("counts", {})
        computed = sum((run.config.get("num_computed") or counts).values())
        spent = sum(timings.get(f"score_{split}", 0.0) for split in counts)
        if spent and computed > _SHARE_TIMED * sum(counts.values()):
            per_row = float(spent / (computed * len(run.checkpoints)))
            both = "all" in list_scored_layers(run.config.get("layers"))
            return per_row if both else per_row / LAST_SHARE
    if training is not None and training.epochs and num_train:
        return PASS_RATIO * training.seconds / (len(training.epochs) * num_train)
    return None
