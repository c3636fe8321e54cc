"""One training and its files: what is saved when, and how it is taken up again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tracin_core.errors import CheckpointError, RunFolderError
from tracin_core.training.batches import hash_dataset, ordered_batches
from tracin_core.training.config import TrainingConfig
from tracin_core.training.epoch import check_finite, evaluate, run_epoch
from tracin_core.training.records import CheckpointRecord, EpochRecord
from tracin_core.training.selection import choose_checkpoints, guessing_accuracy
from tracin_core.training.storage import (
    RESULT_FILE,
    STATE_FILE,
    checkpoint_path,
    load_json,
    load_tensors,
    save_json,
    save_tensors,
)


class TrainingSession:
    """One training and its files."""

    def __init__(
        self, model: nn.Module, train_set: Any, test_set: Any, config: TrainingConfig, folder: Path
    ) -> None:
        self.model = model
        self.train_set = train_set
        self.test_set = test_set
        self.config = config
        self.folder = folder
        self.device = _choose_device(config.device)
        self.fingerprint = _fingerprint(model, train_set, test_set, config)
        self.optimizer = torch.optim.SGD(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    def read_result(self) -> list[CheckpointRecord] | None:
        """Return the kept checkpoints of a training that has ended."""
        path = self.folder / RESULT_FILE
        if not path.exists():
            return None
        result = load_json(path)
        self._check_fingerprint(result.get("fingerprint"))
        return [CheckpointRecord(**record) for record in result["checkpoints"]]

    def resume(self) -> list[EpochRecord]:
        """Bring model and optimiser to the last finished epoch; return the epochs so far."""
        path = self.folder / STATE_FILE
        if not path.exists():
            return []
        state = load_tensors(path)
        self._check_fingerprint(state.get("fingerprint"))
        self._load_into_model(state["model"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        return [EpochRecord(**record) for record in state["history"]]

    def advance(self, epoch: int, history: list[EpochRecord]) -> EpochRecord:
        """Train one epoch, save it, and return what came of it."""
        rate = run_epoch(
            self.model,
            self.optimizer,
            self.train_set,
            self.config,
            epoch=epoch,
            device=self.device,
        )
        step = epoch * math.ceil(len(self.train_set) / self.config.batch_size)
        train_loss, _ = evaluate(self.model, self.train_set, self.device)
        check_finite(train_loss, epoch, step, self.config)
        _, accuracy = evaluate(self.model, self.test_set, self.device)
        record = EpochRecord(
            epoch=epoch,
            step=step,
            learning_rate=rate,
            train_loss=train_loss,
            test_accuracy=accuracy,
        )
        self._save(record, history)
        return record

    def finish(self, history: list[EpochRecord]) -> list[CheckpointRecord]:
        """Choose the checkpoints and write down the result."""
        chosen = choose_checkpoints(
            [epoch.train_loss for epoch in history],
            [epoch.test_accuracy for epoch in history],
            chance=guessing_accuracy(_count_classes(self.test_set)),
            count=self.config.num_checkpoints,
        )
        records = [
            CheckpointRecord(
                **asdict(history[choice.index]),
                file=checkpoint_path(history[choice.index].step),
                reason=choice.reason,
            )
            for choice in chosen
        ]
        result = {
            "fingerprint": self.fingerprint,
            "config": self.config.to_json(),
            "epochs": [asdict(epoch) for epoch in history],
            "checkpoints": [record.to_json() for record in records],
        }
        save_json(self.folder / RESULT_FILE, result)
        return records

    def clean_up(self, records: list[CheckpointRecord]) -> None:
        """Delete what is not kept; after the result is on disk, so a kill in between is mended."""
        kept = {self.folder / record.file for record in records}
        for path in (self.folder / checkpoint_path(0)).parent.glob("step-*.pt"):
            if path not in kept:
                path.unlink(missing_ok=True)
        (self.folder / STATE_FILE).unlink(missing_ok=True)

    def load_weights(self, record: CheckpointRecord) -> None:
        """Put a kept checkpoint's weights into the model."""
        path = self.folder / record.file
        self._load_into_model(load_tensors(path).get("state_dict", {}), path)

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Move the model to the device, and back with its mode at the end."""
        home = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        was_training = self.model.training
        try:
            self.model.to(self.device)
            yield
        finally:
            self.model.to(home).train(was_training)

    def _save(self, record: EpochRecord, history: list[EpochRecord]) -> None:
        weights = {k: v.detach().cpu() for k, v in self.model.state_dict().items()}
        checkpoint = {
            "state_dict": weights,
            "learning_rate": record.learning_rate,
            "step": record.step,
            "epoch": record.epoch,
        }
        save_tensors(self.folder / checkpoint_path(record.step), checkpoint)
        # The state goes last: once it counts an epoch, that epoch's checkpoint is complete.
        state = {
            "fingerprint": self.fingerprint,
            "model": weights,
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(epoch) for epoch in (*history, record)],
        }
        save_tensors(self.folder / STATE_FILE, state)

    def _load_into_model(self, weights: dict[str, Any], path: Path) -> None:
        try:
            self.model.load_state_dict(weights)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path} does not fit the network ({str(error).splitlines()[-1].strip()}). "
                "Delete the run's folder and train again."
            ) from error

    def _check_fingerprint(self, found: object) -> None:
        if found != self.fingerprint:
            raise RunFolderError(
                f"{self.folder} holds a training with other data, labels or options, expected "
                "an empty folder or the same training. Use another folder, or delete this one."
            )


def _count_classes(dataset: Any) -> list[int]:
    targets = torch.cat([targets for _, targets in ordered_batches(dataset)])
    return [int(count) for count in torch.bincount(targets.cpu())]


def _fingerprint(model: nn.Module, train_set: Any, test_set: Any, config: TrainingConfig) -> str:
    """Return a hash of all that decides the outcome but the initial weights' values."""
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    parts = [config.to_json(), shapes, hash_dataset(train_set), hash_dataset(test_set)]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _choose_device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
