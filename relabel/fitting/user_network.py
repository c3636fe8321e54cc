"""A person's own network with the checkpoints of their own training, ready to be scored.

What is used of the checkpoints is copied into the project, weights alone: whatever becomes of the
folder afterwards, the scores stay explainable. Imports torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relabel.fitting.data import ExampleSource
from relabel.fitting.network import TrainedNetwork
from relabel.fitting.options import WorkOptions
from relabel.fitting.user_checkpoints import OwnCheckpoints
from relabel.models.user.inputs import OwnEncoder
from relabel.progress import OnProgress, ignore_progress
from relabel.runs.config import CheckpointEntry, TargetScale, hash_json
from relabel.runs.scoring_version import mark_scoring_version
from relabel.text import Split
from tracin_core.checkpoints import Checkpoint, find_checkpoints
from tracin_core.files import atomic_folder, write_text

ABOUT_FILE = "own.json"


def scale_of(encoder: OwnEncoder) -> TargetScale | None:
    """Return how the person's training scaled the targets; None for classes."""
    if encoder.config.task == "classification":
        return None
    return TargetScale(mean=encoder.own.target_mean, std=encoder.own.target_std)


def network_from_checkpoints(
    folder: Path,
    encoder: OwnEncoder,
    examples: Mapping[Split, ExampleSource],
    options: WorkOptions,
    *,
    data_hash: str,
    target: str = "",
    on_progress: OnProgress = ignore_progress,
) -> TrainedNetwork:
    """Choose among the checkpoints that a training left, copy them, and say what they are like.

    Called again with the same file, checkpoints, options and data, it finds the copies.

    Args:
        folder: ``projects/<slug>/own``; what is copied gets a folder of its own in it.
        encoder: The person's network and what makes its inputs.
        examples: Both splits.
        options: Where the checkpoints are, and which of them to use.
        data_hash: Digest of the examples.
        target: Name of the number, for regression.
        on_progress: Told about every checkpoint that is looked at.

    Raises:
        CheckpointError: If there are no checkpoints, one cannot be read or does not fit the
            network, or a learning rate is asked for and missing.
        ConfigurationError: If the network cannot take its inputs, returns the wrong shape, or no
            checkpoint is better than guessing.
        NotFoundError: If there is no checkpoint at a step that was chosen.
    """
    found = find_checkpoints(str(options.checkpoints))
    own_folder = folder / _name_folder(found, encoder, options, data_hash)
    if not (own_folder / ABOUT_FILE).is_file():
        about = OwnCheckpoints(found, encoder, examples, options, on_progress)
        with atomic_folder(own_folder) as building:
            write_text(building / ABOUT_FILE, json.dumps(about.save(building), indent=2))
    _drop_others(own_folder)
    saved = json.loads((own_folder / ABOUT_FILE).read_text(encoding="utf-8"))
    own, config = encoder.own, encoder.config
    return TrainedNetwork(
        kind=config.kind,
        classes=config.classes,
        model=own.model,
        model_config=config,
        encoder=encoder,
        training=saved["training"],
        epochs=tuple(saved["epochs"]),
        folder=own_folder,
        checkpoints=tuple(CheckpointEntry(**entry) for entry in saved["checkpoints"]),
        task=config.task,
        target=target,
        target_scale=scale_of(encoder),
        loss=own.loss or "cross_entropy",  # type: ignore[arg-type]
        last_layer=own.last_names,
    )


def _drop_others(kept: Path) -> None:
    """Delete copies that nothing needs any more: runs hold their checkpoints themselves."""
    for path in kept.parent.iterdir():
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)


def _name_folder(
    found: Sequence[Checkpoint], encoder: OwnEncoder, options: WorkOptions, data_hash: str
) -> str:
    """Name a folder after everything that decides what is in it."""
    made_from = {
        "checkpoints": [_identify(Path(str(checkpoint.weights))) for checkpoint in found],
        "model": encoder.config.to_json(),
        "encoder": encoder.to_json(),
        "data": data_hash,
        "learning_rate": options.learning_rate_of_checkpoints,
        "num_checkpoints": options.num_checkpoints,
        "steps": options.steps,
        "rates": options.rates,
        "code": mark_scoring_version(),
    }
    return hash_json(made_from)[:12]


def _identify(path: Path) -> list[Any]:
    """Return path, size and time of change of a file, or of all files of a folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    about = [(file.as_posix(), file.stat()) for file in files]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in about]
