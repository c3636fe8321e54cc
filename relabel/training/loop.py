"""Train a network, keep the right checkpoints, and survive a kill at any moment.

`TrainingSession` knows what is saved when, and takes a killed training up again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from relabel.errors import RunFolderError
from relabel.files import remove_temporaries
from relabel.training.config import CheckpointRecord, EpochRecord, TrainingConfig
from relabel.training.epochs import (
    OnVisited,
    check_finite,
    count_batches,
    count_classes,
    evaluate,
    hash_dataset,
    measure_losses,
    read_targets,
    run_epoch,
)
from relabel.training.objective import LossFunction, Quality, choose_objective
from relabel.training.quality import HeldOutMonitor, describe_outcome, measured
from relabel.training.rounds import Verdict
from relabel.training.selection import choose_checkpoints, guessing_accuracy
from relabel.training.storage import (
    RESULT_FILE,
    STATE_FILE,
    checkpoint_path,
    load_json,
    load_tensors,
    save_json,
    save_tensors,
)
from tracin_core.devices import choose_device
from tracin_core.errors import CheckpointError, ConfigurationError


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
        self._monitor = HeldOutMonitor(config, test_set, is_apart=held_out)
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
        """Load model and optimiser as of the last finished epoch; return the epochs so far."""
        path = self.folder / STATE_FILE
        if not path.exists():
            self._write_course([], None)
            return []
        state = load_tensors(path)
        self._check_fingerprint(state.get("fingerprint"))
        self._load_into_model(state["model"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        self._seconds = list(state["seconds"])
        self._monitor.load(state)
        history = [EpochRecord(**record) for record in state["history"]]
        self._write_course(history, None)
        return history

    def judge(self, history: Sequence[EpochRecord]) -> Verdict:
        """Return whether the training is over, why, and which epochs stay."""
        return self._monitor.judge(history, chance=self._chance(), seconds=sum(self._seconds))

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
        self._monitor.look(epoch, self.model, self._objective, self.device)
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
        judging, losses = self._monitor.judging, None
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
        """Load a kept checkpoint's weights into the model."""
        path = self.folder / record.file
        self._load_into_model(load_tensors(path).get("state_dict", {}), path)

    @contextmanager
    def move_to_device(self) -> Iterator[None]:
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
            **self._monitor.to_state(),
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
        """Return whether an epoch's checkpoint stays on the disk.

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


Progress = Callable[[float, str], None]


def train(
    model: nn.Module,
    train_set: Any,
    test_set: Any,
    config: TrainingConfig,
    folder: Path,
    on_progress: Progress | None = None,
    *,
    on_visited: OnVisited | None = None,
    own_loss: LossFunction | None = None,
    unit: float = 1.0,
) -> list[CheckpointRecord]:
    """Train a network and choose the checkpoints that TracIn should sum over.

    Every epoch is saved, as long as there is room, and written into ``training.json`` with the
    epochs before it; in the end ``choose_checkpoints`` says which are used. Called again
    after a kill, it goes on from the last finished epoch and ends with the same bits (on the
    same device and number of threads); called again after the end, it trains nothing.

    Args:
        model: From inputs to logits ``(B, K)``, or to numbers ``(B, 1)`` for regression. It ends
            with the weights of the last chosen checkpoint, on the device and in the mode it
            came in.
        train_set: Map-style data set of ``(input, class index)``, or ``(input, number)``.
        test_set: The same, to judge the network on; if empty, the train set is used.
        config: Options.
        folder: The run's folder: ``checkpoints/step-000180.pt`` and ``training.json`` go there.
        on_progress: Called after each epoch with the share done, 0 to 1, and a sentence. What
            it raises ends the training, which can be resumed.
        on_visited: Called after each step with the train examples visited so far, those of
            earlier epochs included; may raise, too.
        own_loss: For a configuration whose loss is "custom": ``(outputs, targets) -> (B,)``.
        unit: For regression, what a difference of 1 in the targets is in their own unit.

    Returns:
        The chosen checkpoints, in training order.

    Raises:
        ConfigurationError: If there is nothing to train on, or the loss becomes infinite or NaN.
        RunFolderError: If the folder holds another training.
        CheckpointError: If a saved file is damaged or does not fit the model.
        WorkspaceError: If nothing can be written.
    """
    if not len(train_set):
        raise ConfigurationError(
            "Found no train examples, expected at least one. Import a train split first."
        )
    judged = test_set if len(test_set) else train_set
    training = TrainingSession(
        model,
        train_set,
        judged,
        config,
        Path(folder),
        own_loss=own_loss,
        unit=unit,
        held_out=bool(len(test_set)),
    )
    records = training.read_result()
    if records is None:
        with (
            _preserve_random_state(),
            _limit_threads(config.num_threads),
            training.move_to_device(),
        ):
            history = training.resume()
            while (verdict := training.judge(history)).reason is None:
                before = len(history) * len(train_set)
                visited = _shifted(on_visited, before)
                history.append(training.advance(len(history) + 1, history, visited))
                _report(history[-1], config, on_progress)
            records = training.finish(history, verdict)
    training.clean_up()
    training.load_weights(records[-1])
    return records


def _shifted(on_visited: OnVisited | None, before: int) -> OnVisited:
    """Return a function that adds the examples of earlier epochs to each report."""
    if on_visited is None:
        return lambda done: None
    return lambda done: on_visited(before + done)


@contextmanager
def _preserve_random_state() -> Iterator[None]:
    """Restore the global random state at the end of the block."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def _limit_threads(number: int | None) -> Iterator[None]:
    """Use so many threads, and as many as before afterwards."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(number or before)
        yield
    finally:
        torch.set_num_threads(before)


def _report(epoch: EpochRecord, config: TrainingConfig, on_progress: Progress | None) -> None:
    if on_progress is not None:
        on_progress(
            epoch.epoch / config.epochs,
            f"Epoch {epoch.epoch} of {config.epochs}: train loss {epoch.train_loss:.3f}, "
            f"{_describe_quality(epoch)}",
        )


def _describe_quality(epoch: EpochRecord) -> str:
    if epoch.test_accuracy is not None:
        return f"test accuracy {epoch.test_accuracy:.1%}"
    return f"test R\N{SUPERSCRIPT TWO} {epoch.test_r2:.3f}, test RMSE {epoch.test_rmse:.4g}"
