"""From a scored run on disk to the database: the queue's rankings and the predictions."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from tracin_core.reviews.projects import Run, register_run
from tracin_core.runs import RunConfig, RunFolder
from tracin_core.terms import SPLITS, Split
from tracin_core.triage.signals import compute_signals

# What the screens read is in the run's folder; the database keeps what identifies the run.
_CONFIG_FIELDS = (
    "kind",
    "task",
    "target",
    "target_scale",
    "counts",
    "num_computed",
    "layers",
    "rates",
    "projection",
    "method",
    "method_configuration",
    "last_numbers",
    "indexes",
    "timings",
    "quality",
)


def register_scored_run(engine: Engine, project_id: int, folder: RunFolder) -> Run:
    """Make a scored run the current one of its project, in one transaction.

    Args:
        engine: The database.
        project_id: The project, which has its examples.
        folder: The run's folder, complete.

    Raises:
        RunFolderError: If a file of the run is missing or damaged.
        InputError: If the run does not fit the project's examples.
    """
    config = folder.read_config()
    rates = [entry.learning_rate for entry in config.checkpoints]
    return register_run(
        engine,
        project_id,
        key=config.key,
        folder=f"runs/{config.key}",
        config=describe_for_database(config),
        checkpoints=[asdict(entry) for entry in config.checkpoints],
        scores=compute_signals(folder.read_all_signals("train"), rates),
        predictions={split: _read_predictions(folder, split) for split in SPLITS},
    )


def describe_for_database(config: RunConfig) -> dict[str, object]:
    """Return the run's configuration without the long parts (vocabulary, classes)."""
    values = asdict(config)
    chosen = {name: values[name] for name in _CONFIG_FIELDS}
    model = {name: value for name, value in config.model.items() if name != "classes"}
    hashes = {"data_hash": config.data_hash, "code_version": config.code_version}
    return chosen | hashes | {"model": model, "training": dict(config.training)}


def _read_predictions(
    folder: RunFolder, split: Split
) -> tuple[npt.NDArray[np.integer | np.floating], ...]:
    """Return predicted class, its probability and that of the given label; or the number."""
    signals = folder.read_all_signals(split)
    if signals.predicted_value is not None:
        return (signals.predicted_value[-1],)
    return (
        signals.predicted[-1],
        folder.largest_probabilities(split),
        signals.given_probability[-1],
    )
