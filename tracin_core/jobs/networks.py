"""A trained network as scoring takes it, and the one that a stored run was scored with.

Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from tracin_core.examples.encoding import Encoder, encoder_from_json
from tracin_core.influence.checkpoints import Checkpoint
from tracin_core.models.build import build_model
from tracin_core.models.config import ModelConfig, model_config_from_json
from tracin_core.runs import CheckpointEntry, RunFolder
from tracin_core.runs.config import Kind
from tracin_core.runs.hashing import hash_file


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network with its checkpoints and everything that made it.

    Attributes:
        kind: What an example is.
        classes: Class names.
        model: The network; its weights do not matter, the checkpoints bring theirs.
        model_config: What ``model`` was built from.
        encoder: What makes its inputs.
        training: Configuration of the training, as JSON.
        epochs: What the training recorded after each epoch.
        folder: What the checkpoints' files are relative to.
        checkpoints: In training order.
    """

    kind: Kind
    classes: tuple[str, ...]
    model: nn.Module
    model_config: ModelConfig
    encoder: Encoder
    training: dict[str, Any]
    epochs: tuple[dict[str, float], ...]
    folder: Path
    checkpoints: tuple[CheckpointEntry, ...]

    def hashed_checkpoints(self) -> tuple[CheckpointEntry, ...]:
        """Return the checkpoints as a run lists them, with digests of the files as they are."""
        return tuple(
            replace(
                entry,
                file=f"checkpoints/{Path(entry.file).name}",
                sha256=hash_file(self.folder / entry.file),
            )
            for entry in self.checkpoints
        )

    def link_checkpoints(self, folder: RunFolder) -> None:
        """Put the checkpoints into a run's folder, without storing them twice if possible."""
        folder.checkpoints_folder.mkdir()
        for entry in self.checkpoints:
            source = self.folder / entry.file
            target = folder.checkpoints_folder / source.name
            try:
                os.link(source, target)
            except OSError:  # a file system without hard links
                shutil.copyfile(source, target)


def open_network(folder: RunFolder) -> TrainedNetwork:
    """Return the network that a stored run was scored with.

    Raises:
        RunFolderError: If ``run.json`` is missing or damaged.
    """
    config = folder.read_config()
    model_config = model_config_from_json(dict(config.model))
    return TrainedNetwork(
        kind=config.kind,
        classes=config.classes,
        model=build_model(model_config),
        model_config=model_config,
        encoder=encoder_from_json(dict(config.encoder)),
        training=dict(config.training),
        epochs=tuple(dict(epoch) for epoch in config.epochs),
        folder=folder.root,
        checkpoints=config.checkpoints,
    )


def list_checkpoints(folder: RunFolder, entries: tuple[CheckpointEntry, ...]) -> list[Checkpoint]:
    """Return the checkpoints in a run's folder as the engine takes them."""
    return [
        Checkpoint(
            weights=folder.root / entry.file, learning_rate=entry.learning_rate, step=entry.step
        )
        for entry in entries
    ]
