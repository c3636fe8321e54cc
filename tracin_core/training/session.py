"""One training and its files: what is saved when, and how it is taken up again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.errors import CheckpointError, RunFolderError
from tracin_core.files import remove_temporaries
from tracin_core.influence.devices import choose_device
from tracin_core.training.batches import (
    count_batches,
    count_classes,
    hash_dataset,
    read_targets,
)
from tracin_core.training.config import TrainingConfig
from tracin_core.training.epoch import (
    OnVisited,
    check_finite,
    evaluate,
    measure_losses,
    run_epoch,
)
from tracin_core.training.held_out import Watch, measured
from tracin_core.training.objective import LossFunction, Quality, choose_objective
from tracin_core.training.quality import describe_outcome
from tracin_core.training.records import CheckpointRecord, EpochRecord
from tracin_core.training.rounds import Verdict
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
    """One training and its files.

    Args:
        model: Trained in place.
        train_set: Map-style, of ``(input, target)``.
        test_set: The same, to judge the network on.
        config: Options.
        folder: The training's own.
        own_loss: The loss of each example, where the configuration says "custom".
        unit: What a difference of 1 in the targets is in their own unit, for regression.
        held_out: Whether ``test_set`` is apart from the train examples.
    """

    def __init__(
        self,
        model: nn.Module,
        train_set: Any,
        test_set: Any,
        config: TrainingConfig,
        folder: Path,
        *,
        own_loss: LossFunction | None = None,
        unit: float = 1.0,
        held_out: bool = True,
    ) -> None:
        self.model = model
        self.train_set = train_set
        self.test_set = test_set
        self.config = config
        self.folder = folder
        self.device = choose_device(config.device)
        self.fingerprint = _fingerprint(model, train_set, test_set, config)
        self._objective = choose_objective(
            config.loss, own_loss, residual_bound=config.residual_bound
        )
        self._unit = unit
        self._watch = Watch(config, test_set, is_apart=held_out)
        self._seconds: list[float] = []
        self.optimizer = torch.optim.SGD(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    def read_result(self) -> list[CheckpointRecord] | None:
        """Return the chosen checkpoints of a training that has ended."""
        path = self.folder / RESULT_FILE
        if not path.exists():
            return None
        result = load_json(path)
        self._check_fingerprint(result.get("fingerprint"))
        if not result.get("finished"):
            return None
        return [CheckpointRecord(**record) for record in result["checkpoints"]]

    def resume(self) -> list[EpochRecord]:
        """Bring model and optimiser to the last finished epoch; return the epochs so far."""
        path = self.folder / STATE_FILE
        if not path.exists():
            self._write_course([], None)
            return []
        state = load_tensors(path)
        self._check_fingerprint(state.get("fingerprint"))
        self._load_into_model(state["model"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        self._seconds = list(state["seconds"])
        self._watch.load(state)
        history = [EpochRecord(**record) for record in state["history"]]
        self._write_course(history, None)
        return history

    def judge(self, history: Sequence[EpochRecord]) -> Verdict:
        """Say whether the training is over, why, and which epochs stay."""
        return self._watch.judge(history, chance=self._chance(), seconds=sum(self._seconds))

    def advance(
        self, epoch: int, history: list[EpochRecord], on_visited: OnVisited = lambda done: None
    ) -> EpochRecord:
        """Train one epoch, save it, and return what came of it."""
        start = time.perf_counter()
        rate = run_epoch(
            self.model,
            self.optimizer,
            self.train_set,
            self.config,
            self._objective,
            epoch=epoch,
            device=self.device,
            on_visited=on_visited,
        )
        step = epoch * count_batches(len(self.train_set), self.config.batch_size)
        train = self._evaluate(self.train_set)
        check_finite(train.loss, epoch, step, self.config)
        test = self._evaluate(self.test_set)
        record = EpochRecord(
            epoch=epoch,
            step=step,
            learning_rate=rate,
            train_loss=train.loss,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            test_r2=test.r2,
            test_rmse=None if test.rmse is None else test.rmse * self._unit,
            train_accuracy=train.accuracy,
            train_r2=train.r2,
        )
        self._watch.look(epoch, self.model, self._objective, self.device)
        self._seconds.append(round(time.perf_counter() - start, 3))
        self._save(record, history)
        return record

    def finish(self, history: list[EpochRecord], verdict: Verdict) -> list[CheckpointRecord]:
        """Choose the checkpoints among the epochs that stay, and write down the result."""
        tried = len(history)
        history = self._go_back(history, verdict.kept)
        kept = [epoch for epoch in history if self._is_kept(epoch.epoch, len(history))]
        chosen = choose_checkpoints(
            [epoch.train_loss for epoch in kept],
            [measured(epoch) for epoch in kept],
            chance=self._chance(),
            count=self.config.num_checkpoints,
            measure="r2" if self.config.loss == "mse" else "accuracy",
        )
        records = [
            CheckpointRecord(
                **asdict(kept[choice.index]),
                file=checkpoint_path(kept[choice.index].step),
                reason=choice.reason,
            )
            for choice in chosen
        ]
        self._write_course(history, records, self._describe_outcome(history, verdict, tried))
        return records

    def _go_back(self, history: list[EpochRecord], wanted: int) -> list[EpochRecord]:
        """Return the epochs that stay, and bring the model to the last of them."""
        if wanted == len(history):
            return history
        # Where the disk had no room for it, the last one before it is taken.
        last = max(
            (epoch for epoch in history[:wanted] if self._path_of(epoch).exists()),
            key=lambda epoch: epoch.epoch,
            default=history[-1],
        )
        path = self._path_of(last)
        self._load_into_model(load_tensors(path).get("state_dict", {}), path)
        return history[: last.epoch]

    def _describe_outcome(
        self, history: Sequence[EpochRecord], verdict: Verdict, tried: int
    ) -> dict[str, Any]:
        """Judge the network by held-out examples that had no part in choosing the epochs."""
        judging, losses = self._watch.judging, None
        if self.config.loss == "mse" and judging is not None:
            losses = self._measure_losses(judging), self._measure_losses(self.train_set)
        return describe_outcome(
            history,
            verdict,
            None if judging is None else self._evaluate(judging),
            torch.empty(0) if judging is None else read_targets(judging),
            read_targets(self.train_set),
            losses,
            self._objective,
            self.config,
            epochs_tried=tried,
        ).to_json()

    def clean_up(self) -> None:
        """Delete what is not kept; after the result is on disk, so a kill in between is mended."""
        (self.folder / STATE_FILE).unlink(missing_ok=True)
        epochs = load_json(self.folder / RESULT_FILE)["epochs"]
        self._thin_out([EpochRecord(**epoch) for epoch in epochs])
        for folder in (self.folder, (self.folder / checkpoint_path(0)).parent):
            remove_temporaries(folder)

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

    def _evaluate(self, dataset: Any) -> Quality:
        return evaluate(self.model, dataset, self.config, self._objective, self.device)

    def _measure_losses(self, dataset: Any) -> Tensor:
        return measure_losses(self.model, dataset, self._objective, self.device)

    def _chance(self) -> float:
        if self.config.loss == "mse":
            return 0.0  # what predicting the mean of the test targets explains of their variance
        return guessing_accuracy(count_classes(self.test_set))

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
            "seconds": self._seconds,
            **self._watch.to_state(),
        }
        save_tensors(self.folder / STATE_FILE, state)
        self._write_course([*history, record], None)
        self._thin_out([*history, record])

    def _write_course(
        self,
        history: Sequence[EpochRecord],
        chosen: Sequence[CheckpointRecord] | None,
        quality: dict[str, Any] | None = None,
    ) -> None:
        """Write down the epochs so far, which a screen draws, and in the end what was chosen."""
        course = {
            "fingerprint": self.fingerprint,
            "config": self.config.to_json(),
            "finished": chosen is not None,
            "epochs": [asdict(epoch) for epoch in history],
            "seconds": self._seconds,
            "checkpoints": [record.to_json() for record in chosen or ()],
            "quality": quality or {},
        }
        save_json(self.folder / RESULT_FILE, course)

    def _is_kept(self, epoch: int, num_epochs: int) -> bool:
        """Tell whether an epoch's checkpoint stays on the disk.

        Every one, every second, every fourth and so on, as the budget allows: what is deleted
        early would be deleted in the end, too. The last one always stays, and so does the last
        one of each round, to which the training may go back.
        """
        size = sum(value.nbytes for value in self.model.state_dict().values())
        room = max(self.config.max_disk_bytes // max(size, 1), self.config.num_checkpoints, 1)
        stride = 1
        while num_epochs // stride > room:
            stride *= 2
        is_end = self.config.rounds > 1 and epoch % self.config.epochs == 0
        return epoch % stride == 0 or epoch == num_epochs or is_end

    def _path_of(self, epoch: EpochRecord) -> Path:
        return self.folder / checkpoint_path(epoch.step)

    def _thin_out(self, history: Sequence[EpochRecord]) -> None:
        kept = {
            self._path_of(epoch) for epoch in history if self._is_kept(epoch.epoch, len(history))
        }
        for path in (self.folder / checkpoint_path(0)).parent.glob("step-*.pt"):
            if path not in kept:
                path.unlink(missing_ok=True)

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


def _fingerprint(model: nn.Module, train_set: Any, test_set: Any, config: TrainingConfig) -> str:
    """Return a hash of all that decides the outcome but the initial weights' values."""
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    parts = [config.to_json(), shapes, hash_dataset(train_set), hash_dataset(test_set)]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
