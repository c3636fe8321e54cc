"""What ``run.json`` holds: how a run was made, enough to repeat or to compare it.

A run is known by short digests of the files and the configuration it was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from relabel.text import (
    LAYERS,
    SPLITS,
    Kind,  # for those who know it from here
    LayerChoice,
    Layers,
    Task,
)
from tracin_core.errors import ConfigurationError

SCHEMA_VERSION = 1
# The only attribution method of programs that did not write which one they used.
_FIRST_METHOD = "tracincp"
Rates = Literal["ones", "recorded"]


@dataclass(frozen=True, kw_only=True)
class CheckpointEntry:
    """One checkpoint of a run.

    Attributes:
        file: Path relative to the run folder.
        step: Optimiser steps made before it was saved.
        epoch: Passes over the training data made before it was saved.
        learning_rate: Step size in force when it was saved; None where it is not recorded, or
            parameters had different ones.
        train_loss: Mean training loss at that time: nats, or squared error of standardised
            targets.
        test_loss: The same over the test examples.
        test_accuracy: Share of the test examples predicted right, 0 to 1.
        test_r2: Share of the test targets' variance that is explained, for regression.
        test_rmse: Root of the mean squared error over the test examples, in the target's unit.
        train_accuracy: Share of the train examples predicted as they are labelled, 0 to 1; None
            where it is not known, as in runs of earlier versions.
        train_r2: Share of the train targets' variance that is explained, for regression.
        reason: Why it was kept, in a sentence for the person.
        sha256: Digest of the file.
    """

    file: str
    step: int
    epoch: float
    learning_rate: float | None
    train_loss: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_r2: float | None = None
    test_rmse: float | None = None
    train_accuracy: float | None = None
    train_r2: float | None = None
    reason: str = ""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """How a regression's targets were standardised: ``(target - mean) / std``.

    Everything that people see is in the target's own unit; losses and gradients are those of
    the standardised targets.
    """

    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class ProjectionEntry:
    """The seeded random map that vectors were made with: ``dim`` numbers per example."""

    dim: int
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """An index over the train vectors and its recall, measured when it was built."""

    kind: str
    recall: float


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything about a run that is no array.

    Attributes:
        key: The run's name within its project.
        kind: What an example is.
        classes: Class names; a label is a position in them. Empty for regression.
        model: Configuration that ``build_model`` takes, as JSON.
        encoder: Configuration of the encoder, as JSON.
        training: Configuration of the training, as JSON.
        epochs: Step, train loss and test accuracy after each epoch, as the training recorded
            them; empty where it is not known.
        checkpoints: In training order.
        counts: Examples per split.
        layers: Names of the layers behind the "all" and the "last" vectors and norms; only
            "last" where the run has no others.
        last_layer: Names that a person has chosen as the last layer; empty where it was found.
        rates: Whether the vectors carry the recorded learning rates or ones.
        projection: Of the vectors, per "all" and "last"; ``None`` where they are exact.
        method: Name of the attribution method whose scores the run has.
        method_configuration: Everything that decides its numbers beside network and data, as JSON.
        scores: Names of its scores of the train examples; empty where that is not known, as in
            runs of earlier versions.
        last_numbers: Numbers of an exact last-layer vector, over all checkpoints; 0 where it is
            not known.
        indexes: Kind and recall per "all" and "last".
        num_computed: Examples per split that were computed; the others were taken from an
            earlier run. Empty where it is not known.
        data_hash: Digest of keys, labels and contents of the examples.
        scoring_hash: Digest of everything but the data that decides the numbers; rows of
            another run with the same one may be reused for examples that are the same.
        code_version: Version of the program that made the run and of its numbers, for people.
        created_at: UTC time, ISO 8601.
        timings: Seconds per step of the work.
        task: What is predicted of an example.
        target: Name of the number, for regression.
        target_scale: How the targets were standardised, for regression.
        quality: How good the network is and why its training ended, as the training measured it;
            empty where that is not known, as in runs of earlier versions.
        schema_version: Of this file.
    """

    key: str
    kind: Kind
    classes: tuple[str, ...]
    model: Mapping[str, Any]
    encoder: Mapping[str, Any]
    training: Mapping[str, Any]
    checkpoints: tuple[CheckpointEntry, ...]
    counts: Mapping[str, int]
    layers: Mapping[str, tuple[str, ...]]
    rates: Rates
    projection: Mapping[str, ProjectionEntry | None]
    method: str = _FIRST_METHOD
    method_configuration: Mapping[str, Any] = field(default_factory=dict)
    scores: tuple[str, ...] = ()
    last_numbers: int = 0
    last_layer: tuple[str, ...] = ()
    epochs: tuple[Mapping[str, Any], ...] = ()
    indexes: Mapping[str, IndexEntry] = field(default_factory=dict)
    num_computed: Mapping[str, int] = field(default_factory=dict)
    data_hash: str = ""
    scoring_hash: str = ""
    code_version: str = ""
    created_at: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    task: Task = "classification"
    target: str = ""
    target_scale: TargetScale | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Check the values that everything else relies on.

        Raises:
            ConfigurationError: If one cannot be right.
        """
        if self.kind not in get_args(Kind):
            raise ConfigurationError(f"Found kind {self.kind!r}; expected {get_args(Kind)}.")
        if self.rates not in get_args(Rates):
            raise ConfigurationError(f"Found rates {self.rates!r}; expected {get_args(Rates)}.")
        if not all(isinstance(name, str) for name in (self.method, *self.scores)):
            raise ConfigurationError(
                f"Found method {self.method!r:.80} and scores {self.scores!r:.80}; expected names."
            )
        if not self.checkpoints:
            raise ConfigurationError("Found no checkpoints; a run needs at least one.")
        if set(self.counts) != set(SPLITS):
            raise ConfigurationError(f"Found counts of {sorted(self.counts)}; expected per split.")
        if "last" not in self.layers:
            raise ConfigurationError(f"Found layers {sorted(self.layers)}; expected the last one.")

    @property
    def scored_layers(self) -> tuple[Layers, ...]:
        """Return whose norms and vectors the run has."""
        return list_scored_layers(self.layers)

    @property
    def layer_choice(self) -> LayerChoice:
        """Return the layers that were chosen for the scoring."""
        return "both" if "all" in self.layers else "last"

    def to_json(self) -> str:
        """Return the text of ``run.json``."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunConfig:
        """Read the text of ``run.json``.

        Raises:
            NewerSchemaError: If a newer version of the program wrote it.
            ConfigurationError: If it is no run's configuration.
        """
        try:
            return cls._from_dict(json.loads(text))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigurationError(f"It is not a run's configuration ({error}).") from error

    @classmethod
    def _from_dict(cls, values: dict[str, Any]) -> RunConfig:
        version = int(values["schema_version"])
        if version > SCHEMA_VERSION:
            raise NewerSchemaError(
                f"Its schema version is {version}, and this program reads up to {SCHEMA_VERSION}."
            )
        # A field that this version does not know is an addition, and additions are harmless.
        known = {name: values[name] for name in _field_names(cls) if name in values}
        known["classes"] = tuple(values["classes"])
        known["scores"] = tuple(values.get("scores", ()))
        if "method" not in values:
            known["method_configuration"] = {name: values[name] for name in ("rates", "projection")}
        known["checkpoints"] = tuple(
            CheckpointEntry(**_pick(CheckpointEntry, entry)) for entry in values["checkpoints"]
        )
        scale = values.get("target_scale")
        known["target_scale"] = TargetScale(**_pick(TargetScale, scale)) if scale else None
        known["epochs"] = tuple(values.get("epochs", ()))
        known["layers"] = {name: tuple(layers) for name, layers in values["layers"].items()}
        known["last_layer"] = tuple(values.get("last_layer", ()))
        known["projection"] = {
            name: ProjectionEntry(**_pick(ProjectionEntry, entry)) if entry else None
            for name, entry in values["projection"].items()
        }
        known["indexes"] = {
            name: IndexEntry(**_pick(IndexEntry, entry))
            for name, entry in values.get("indexes", {}).items()
        }
        return cls(**known)


class NewerSchemaError(ConfigurationError):
    """The file was written by a newer version of the program."""


def list_scored_layers(layers: Mapping[str, Any] | None) -> tuple[Layers, ...]:
    """Return whose norms and vectors a run has, by what its configuration says of its layers."""
    return tuple(name for name in LAYERS if not layers or name in layers)


def name_last_layer(layers: Mapping[str, Any] | None) -> list[str]:
    """Return what a run's last layer is, by names of the network's modules; none where unknown."""
    return [str(name) or "the network itself" for name in (layers or {}).get("last", ())]


def _field_names(of: type) -> set[str]:
    return {entry.name for entry in fields(of)}


def _pick(of: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in _field_names(of)}


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON object, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def make_run_key(digest: str, created_at: datetime) -> str:
    """Name a run after its day and what it was made from, such as ``20260102-1a2b3c4d``."""
    return f"{created_at:%Y%m%d}-{digest[:8]}"
