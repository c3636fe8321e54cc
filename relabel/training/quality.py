"""What a finished training writes down about its network: facts, in numbers, that a judge needs.

``relabel/triage/model_quality.py`` says what they mean. An accuracy or a loss is compared with that
of the best constant guess: the most frequent class, the classes' shares as probabilities, or for
numbers their median.

A loss that chose among epochs looks better than it is. So the held-out examples are in two parts:
one chooses when the training ends, the other judges the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from relabel.training.config import EpochRecord, TrainingConfig
from relabel.training.epochs import measure_losses, read_batch, read_targets
from relabel.training.objective import LossFunction, Quality
from relabel.training.rounds import Verdict, judge_course, typical_loss


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How good a trained network is, and why its training ended.

    Attributes:
        num_train: Train examples.
        num_judged: Examples that it is judged by, which had no part in choosing the epochs; 0
            where no examples are held out.
        measure: Accuracy on them, 0 to 1, or for regression the share of variance explained.
        test_measure: The same of all test examples, which is what the pages show.
        loss: Mean loss on them; for regression without the worst of them, as for what follows.
        guess: Share of their most frequent class; 0 for regression.
        guess_loss: Mean loss of the best constant guess on them; None where it is not known.
        train_measure: As ``measure``, of the train examples by their given labels.
        train_loss: As ``loss``, of the train examples.
        train_guess_loss: As ``guess_loss``, of the train examples.
        is_regression: Which of the two the measures are.
        epochs: Epochs that stay.
        epochs_tried: Epochs that were trained.
        round_epochs: Epochs of a round; all of them where there are no rounds.
        rounds: Rounds that were allowed; 1 where the epochs were given.
        max_seconds: Within which a further round had to end.
        reason: Why it ended, as ``rounds.Reason`` has it.
        loss_before: Loss that was compared in the end, and before that.
        loss_after: The later one.
        last_losses: Test loss of the last epochs that stay, oldest first.
    """

    num_train: int
    num_judged: int
    measure: float | None
    test_measure: float | None
    loss: float | None
    guess: float
    guess_loss: float | None
    train_measure: float | None
    train_loss: float
    train_guess_loss: float | None
    is_regression: bool
    epochs: int
    epochs_tried: int
    round_epochs: int
    rounds: int
    max_seconds: float | None
    reason: str
    loss_before: float | None
    loss_after: float | None
    last_losses: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold: a number that is not finite counts as unknown."""
        values = asdict(self) | {"last_losses": list(self.last_losses)}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }


# Test losses that are written down: enough to see in which direction they went.
LAST_LOSSES = 4


def describe_outcome(
    history: Sequence[EpochRecord],
    verdict: Verdict,
    judged: Quality | None,
    judged_targets: Tensor,
    train_targets: Tensor,
    losses: tuple[Tensor, Tensor] | None,
    objective: LossFunction,
    config: TrainingConfig,
    *,
    epochs_tried: int,
) -> Outcome:
    """Gather the facts.

    Args:
        history: The epochs that stay, at least one.
        verdict: Why the training ended.
        judged: What the network is like on the examples that judge it; None where there are none.
        judged_targets: Their targets, shape ``(M,)``.
        train_targets: Those of the train examples, shape ``(N,)``.
        losses: Of each example that judges and of each train example, for regression: one absurd
            number must not decide what a mean loss says, so the worst are left out.
        objective: The loss of each example.
        config: Options of the training.
        epochs_tried: Epochs that were trained.
    """
    last, loss, is_regression = history[-1], config.loss, config.loss == "mse"
    measure = None if judged is None else judged.r2 if is_regression else judged.accuracy
    return Outcome(
        num_train=len(train_targets),
        num_judged=0 if judged is None else len(judged_targets),
        measure=measure,
        test_measure=last.test_r2 if is_regression else last.test_accuracy,
        loss=None if judged is None else _typical(losses and losses[0], judged.loss),
        guess=0.0 if is_regression else _largest_share(judged_targets),
        guess_loss=None if judged is None else guess_loss(judged_targets, objective, loss),
        train_measure=last.train_r2 if is_regression else last.train_accuracy,
        train_loss=_typical(losses and losses[1], last.train_loss),
        train_guess_loss=guess_loss(train_targets, objective, loss),
        is_regression=is_regression,
        epochs=len(history),
        epochs_tried=epochs_tried,
        round_epochs=config.epochs,
        rounds=config.rounds,
        max_seconds=config.max_seconds,
        reason=verdict.reason or "",
        loss_before=verdict.before,
        loss_after=verdict.after,
        last_losses=tuple(epoch.test_loss or 0.0 for epoch in history[-LAST_LOSSES:]),
    )


def guess_loss(targets: Tensor, objective: LossFunction, loss: str) -> float | None:
    """Return the mean loss of the best constant guess; None where the loss is a person's own.

    Args:
        targets: Class indices or numbers, shape ``(N,)``.
        objective: The loss of each example.
        loss: Its name.
    """
    if not len(targets):
        return None
    if loss in ("cross_entropy", "binary_cross_entropy"):
        shares = torch.bincount(targets.flatten().long()).double() / len(targets)
        return float(-(shares[shares > 0] * shares[shares > 0].log()).sum())
    if loss == "mse":
        values = targets.flatten().double()
        # The median, not the mean: one absurd number must not make every network look good.
        losses = objective(values.median().expand_as(values).unsqueeze(1), values)
        return typical_loss(losses.tolist())
    return None


def _typical(losses: Tensor | None, mean: float) -> float:
    return mean if losses is None or not len(losses) else typical_loss(losses.tolist())


def _largest_share(targets: Tensor) -> float:
    if not len(targets):
        return 0.0
    return float(torch.bincount(targets.flatten().long()).max()) / len(targets)


# Of fewer, a mean loss says little about any other example.
LEAST_WATCHED = 10


class HeldOutPart:
    """Some examples of a map-style data set, as a data set."""

    def __init__(self, dataset: Any, indices: Tensor) -> None:
        """Select the examples at some positions, shape ``(N,)``."""
        self._dataset = dataset
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._dataset[int(self._indices[index])]

    @property
    def targets(self) -> Tensor:
        """Return the targets, shape ``(N,)``."""
        return read_targets(self._dataset)[self._indices]

    def read_batch(self, indices: Tensor) -> Any:
        """Return some of them as one batch."""
        return read_batch(self._dataset, self._indices[indices])


def halve(dataset: Any) -> tuple[HeldOutPart, HeldOutPart] | None:
    """Return the half that is watched and the half that judges; None where they are too few.

    Always the same halves of the same number of examples, whatever the training's seed, and drawn
    by chance: neighbouring examples are often of one class.
    """
    if len(dataset) < 2 * LEAST_WATCHED:
        return None
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(dataset), generator=generator)
    middle = len(dataset) // 2
    watched, judging = order[:middle].sort().values, order[middle:].sort().values
    return HeldOutPart(dataset, watched), HeldOutPart(dataset, judging)


class HeldOutMonitor:
    """Looks at the held-out examples after each epoch, and says when a training is over."""

    def __init__(self, config: TrainingConfig, test_set: Any, *, is_apart: bool) -> None:
        """Divide the examples.

        Args:
            config: Options of the training.
            test_set: Map-style, of ``(input, target)``.
            is_apart: Whether they are apart from the train examples.
        """
        self._config = config
        self._halves = halve(test_set) if is_apart and config.rounds > 1 else None
        self._means: list[float] = []  # watched loss after each epoch
        self._ends: list[list[float]] = []  # of each example, at each round's end
        # What the network is judged by; without rounds nothing was chosen by any of them.
        self.judging = (self._halves[1] if self._halves else test_set) if is_apart else None

    def load(self, state: Mapping[str, Any]) -> None:
        """Load what ``to_state`` returned."""
        self._means, self._ends = list(state.get("watched", ())), list(state.get("ends", ()))

    def to_state(self) -> dict[str, Any]:
        """Return what has been seen, for the file with the training's state."""
        return {"watched": self._means, "ends": self._ends}

    def look(
        self, epoch: int, model: nn.Module, objective: LossFunction, device: torch.device
    ) -> None:
        """Measure the loss on the watched examples after an epoch, counted from 1."""
        if self._halves is None:
            return
        losses = measure_losses(model, self._halves[0], objective, device)
        self._means.append(typical_loss(losses.tolist()))
        if epoch % self._config.epochs == 0:
            self._ends.append(losses.tolist())

    def judge(self, history: Sequence[EpochRecord], *, chance: float, seconds: float) -> Verdict:
        """Return whether the training is over, why, and which epochs stay.

        Args:
            history: The epochs so far.
            chance: What guessing reaches, as ``choose_checkpoints`` has it.
            seconds: What they took.
        """
        config, done = self._config, len(history)
        losses = [epoch.test_loss or 0.0 for epoch in history]
        if config.patience is not None and losses:
            lowest = losses.index(min(losses))
            if done - 1 - lowest >= config.patience:
                return Verdict("patience", done, losses[lowest], losses[-1])
        if self._halves is None:
            over = done >= config.epochs
            return Verdict(("fixed" if config.rounds == 1 else "too few") if over else None, done)
        return judge_course(
            self._means,
            self._ends,
            [measured(epoch) <= chance for epoch in history[config.epochs - 1 :: config.epochs]],
            round_epochs=config.epochs,
            rounds=config.rounds,
            seconds=seconds,
            max_seconds=config.max_seconds,
        )


def measured(epoch: EpochRecord) -> float:
    """Return the test accuracy after an epoch, or for regression the variance explained."""
    found = epoch.test_r2 if epoch.test_accuracy is None else epoch.test_accuracy
    return 0.0 if found is None else found
