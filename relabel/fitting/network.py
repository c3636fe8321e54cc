"""A trained network as scoring takes it: from a training, a stored run, or a person's own.

Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from relabel.errors import NotFoundError
from relabel.features.encoding import Encoder, encoder_from_json
from relabel.fitting.saved import NETWORK_FILE, TrainingInfo
from relabel.models.build import build_model
from relabel.models.builtin import ModelConfig, model_config_from_json
from relabel.models.user.config import Consent, OwnModelConfig
from relabel.models.user.inputs import OwnEncoder
from relabel.models.user.load import load_own_model
from relabel.runs.config import CheckpointEntry, TargetScale, hash_file
from relabel.runs.folder import RunFolder
from relabel.text import Kind, Task
from relabel.training.storage import load_json
from tracin_core.checkpoints import Checkpoint
from tracin_core.losses import Loss


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network with its checkpoints and everything that made it.

    Attributes:
        kind: What an example is.
        classes: Class names; empty for regression.
        model: The network; its weights do not matter, the checkpoints bring theirs.
        model_config: What ``model`` was built from.
        encoder: What makes its inputs.
        training: Configuration of the training, as JSON.
        epochs: What the training recorded after each epoch.
        folder: What the checkpoints' files are relative to.
        checkpoints: In training order.
        task: What is predicted.
        target: Name of the number, for regression.
        target_scale: Mean and standard deviation that the targets were standardised with.
        loss: Whose gradients are taken.
        last_layer: Names of what a person says is the last layer; empty where it is found.
        quality: How good it is and why its training ended; empty where that is not known.
    """

    kind: Kind
    classes: tuple[str, ...]
    model: nn.Module
    model_config: ModelConfig
    encoder: Encoder | OwnEncoder
    training: dict[str, Any]
    epochs: tuple[dict[str, Any], ...]
    folder: Path
    checkpoints: tuple[CheckpointEntry, ...]
    task: Task = "classification"
    target: str = ""
    target_scale: TargetScale | None = None
    loss: Loss = "cross_entropy"
    last_layer: tuple[str, ...] = ()
    quality: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own_file(self) -> Path | None:
        """Return the Python file of a person's own network."""
        config = self.model_config
        return Path(config.file) if isinstance(config, OwnModelConfig) else None

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
        """Link the checkpoints into a run's folder, without storing them twice if possible."""
        folder.checkpoints_folder.mkdir()
        for entry in self.checkpoints:
            source = self.folder / entry.file
            target = folder.checkpoints_folder / source.name
            try:
                os.link(source, target)
            except OSError:  # a file system without hard links
                shutil.copyfile(source, target)


def open_network(folder: RunFolder, *, run_my_code: Consent = False) -> TrainedNetwork:
    """Return the network that a stored run was scored with.

    Args:
        folder: The run.
        run_my_code: Whether the person has agreed to run the file of their own network, or the
            digest of the file that they agreed to.

    Raises:
        RunFolderError: If ``run.json`` is missing or damaged.
        ConfigurationError: If it is the person's own, and they have not agreed or its file has
            changed.
    """
    config = folder.read_config()
    made = make_network(dict(config.model), dict(config.encoder), run_my_code)
    made = made.scaled(config.target_scale)
    return TrainedNetwork(
        kind=config.kind,
        classes=config.classes,
        model=made.model,
        model_config=made.config,
        encoder=made.encoder,
        training=dict(config.training),
        epochs=tuple(dict(epoch) for epoch in config.epochs),
        folder=folder.root,
        checkpoints=config.checkpoints,
        task=config.task,
        target=config.target,
        target_scale=config.target_scale,
        loss=made.loss,
        last_layer=config.last_layer or made.last_layer,
        quality=dict(config.quality),
    )


def open_training(
    info: TrainingInfo, steps: Sequence[int] | None = None, *, run_my_code: Consent = False
) -> TrainedNetwork:
    """Return the network that a training made.

    Args:
        info: The training, finished.
        steps: Checkpoints to use; None for the recommended ones.
        run_my_code: As in ``open_network``.

    Raises:
        NotFoundError: If a checkpoint is not there any more, or never was.
        CheckpointError: If a file of the training is damaged.
    """
    about = load_json(info.folder / NETWORK_FILE)
    scale = None if about["target_scale"] is None else TargetScale(**about["target_scale"])
    made = make_network(about["model"], about["encoder"], run_my_code).scaled(scale)
    return TrainedNetwork(
        kind=about["kind"],
        classes=tuple(about["classes"]),
        model=made.model,
        model_config=made.config,
        encoder=made.encoder,
        training=dict(info.config),
        epochs=tuple(dict(epoch) for epoch in info.epochs),
        folder=info.folder,
        checkpoints=choose_entries(info, steps),
        task=about["task"],
        target=about["target"],
        target_scale=scale,
        loss=made.loss,
        last_layer=made.last_layer,
        quality=dict(info.quality),
    )


def choose_entries(
    info: TrainingInfo, steps: Sequence[int] | None = None
) -> tuple[CheckpointEntry, ...]:
    """Return a training's recommended checkpoints, or those at some steps, in training order.

    Raises:
        NotFoundError: If there is none at a step.
    """
    recommended = {int(entry["step"]): CheckpointEntry(**entry) for entry in info.chosen}
    if steps is None:
        return tuple(recommended.values())
    missing = sorted(set(steps) - set(info.steps_on_disk))
    if missing:
        known = ", ".join(map(str, info.steps_on_disk))
        raise NotFoundError(
            f"Found no checkpoint at step {missing[0]}; expected some of the steps {known}. "
            "Choose among these, or train again."
        )
    epochs = {int(epoch["step"]): epoch for epoch in info.epochs}
    return tuple(
        recommended.get(step)
        or CheckpointEntry(
            **epochs[step], file=f"checkpoints/step-{step:06d}.pt", reason="Chosen by a person."
        )
        for step in sorted(set(steps))
    )


@dataclass(frozen=True)
class MadeNetwork:
    """A network with what makes its inputs and the loss it is scored by."""

    config: ModelConfig
    model: nn.Module
    encoder: Encoder | OwnEncoder
    loss: Loss
    last_layer: tuple[str, ...] = ()

    def scaled(self, scale: TargetScale | None) -> MadeNetwork:
        """Return the network with its targets standardised in a way; None leaves them."""
        if scale is None or not isinstance(self.encoder, OwnEncoder):
            return self
        own = replace(self.encoder.own, target_mean=scale.mean, target_std=scale.std)
        return replace(self, encoder=replace(self.encoder, own=own))


def make_network(
    model: Mapping[str, Any], encoder: Mapping[str, Any], run_my_code: Consent
) -> MadeNetwork:
    """Build a network and its encoder from what was saved of them."""
    config = model_config_from_json(dict(model))
    if not isinstance(config, OwnModelConfig):
        built = encoder_from_json(dict(encoder))
        loss: Loss = "mse" if config.num_outputs == 1 else "cross_entropy"
        return MadeNetwork(config, build_model(config), built, loss)
    own = load_own_model(config, run_my_code=run_my_code)
    saved = encoder.get("rows")
    rows = None if saved is None else encoder_from_json(dict(saved))
    encoder_of_own = OwnEncoder(own, config, rows)
    return MadeNetwork(config, own.model, encoder_of_own, own.loss, own.last_names)  # type: ignore[arg-type]


def list_checkpoints(folder: RunFolder, entries: tuple[CheckpointEntry, ...]) -> list[Checkpoint]:
    """Return the checkpoints in a run's folder as the engine takes them."""
    return [
        Checkpoint(
            weights=folder.root / entry.file, learning_rate=entry.learning_rate, step=entry.step
        )
        for entry in entries
    ]
