"""Train a network, keep the right checkpoints, and survive a kill at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tracin_core.errors import ConfigurationError
from tracin_core.training.config import TrainingConfig
from tracin_core.training.epoch import OnVisited
from tracin_core.training.objective import LossFunction
from tracin_core.training.records import CheckpointRecord, EpochRecord
from tracin_core.training.session import TrainingSession

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
        with _kept_random_state(), _threads(config.num_threads), training.on_device():
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
def _kept_random_state() -> Iterator[None]:
    """Give the global random state back as it was found."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
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
