"""Train the network that suits a project's data, or find it trained. Imports torch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tracin_core.examples.datasets import EncodedDataset, encode_examples
from tracin_core.examples.encoding import Encoder, fit_encoder
from tracin_core.jobs.networks import TrainedNetwork
from tracin_core.jobs.progress import OnProgress, Progress, ignore_progress
from tracin_core.jobs.stored_examples import StoredExample, of_split
from tracin_core.jobs.threads import threads_limited_for
from tracin_core.models.build import build_model
from tracin_core.models.config import suggest_model
from tracin_core.runs import CheckpointEntry
from tracin_core.runs.config import Kind
from tracin_core.runs.hashing import hash_json
from tracin_core.terms import Split
from tracin_core.training import suggest_training, train
from tracin_core.training.storage import RESULT_FILE, load_json


def encode_splits(
    kind: Kind, examples: Sequence[StoredExample]
) -> tuple[Encoder, dict[Split, EncodedDataset]]:
    """Fit the encoder on the train examples and encode both splits.

    Raises:
        InputError: If an example cannot be read; the message says at which position.
    """
    splits: dict[Split, list[StoredExample]] = {
        "train": of_split(examples, "train"),
        "test": of_split(examples, "test"),
    }
    encoder = fit_encoder(kind, [example.content for example in splits["train"]])
    return encoder, {
        split: encode_examples(
            encoder,
            [example.content for example in members],
            [example.given_label for example in members],
        )
        for split, members in splits.items()
    }


def train_network(
    folder: Path,
    *,
    kind: Kind,
    classes: tuple[str, ...],
    encoder: Encoder,
    datasets: dict[Split, EncodedDataset],
    data_hash: str,
    on_progress: OnProgress = ignore_progress,
) -> TrainedNetwork:
    """Train, or go on with, or find finished, the suggested network for this data.

    Args:
        folder: All trainings of the project; this one gets a folder named after what decides
            its outcome, so that another one can never be mistaken for it.
        kind: What an example is.
        classes: Class names.
        encoder: Fitted on the train examples.
        datasets: Encoded examples by split.
        data_hash: Digest of the examples.
        on_progress: Told about every epoch.

    Raises:
        ConfigurationError: If the loss becomes infinite or NaN.
        WorkspaceError: If the checkpoints cannot be written.
    """
    model_config = suggest_model(encoder, len(classes))
    config = suggest_training(kind)
    made_from = {
        "data": data_hash,
        "model": model_config.to_json(),
        "encoder": encoder.to_json(),
        "training": config.to_json(),
    }
    own_folder = folder / hash_json(made_from)[:12]
    _drop_if_incomplete(own_folder)
    model = build_model(model_config)
    with threads_limited_for(model):
        records = train(
            model,
            datasets["train"],
            datasets["test"],
            config,
            own_folder,
            lambda share, _: on_progress(
                Progress("training", round(share * config.epochs), config.epochs)
            ),
        )
    return TrainedNetwork(
        kind=kind,
        classes=classes,
        model=model,
        model_config=model_config,
        encoder=encoder,
        training=config.to_json(),
        epochs=tuple(load_json(own_folder / RESULT_FILE)["epochs"]),
        folder=own_folder,
        checkpoints=tuple(CheckpointEntry(**record.to_json()) for record in records),
    )


def _drop_if_incomplete(folder: Path) -> None:
    """Throw away a finished training that has lost a checkpoint, to train it again."""
    result = folder / RESULT_FILE
    if result.exists() and not all(
        (folder / entry["file"]).is_file() for entry in load_json(result)["checkpoints"]
    ):
        shutil.rmtree(folder)
