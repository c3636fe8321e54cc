"""What a finished training writes down about its network: facts, in numbers, that a judge needs.

``triage/model_quality.py`` says what they mean. Sizes that an accuracy or a loss is to be compared
with are those of the best constant guess: the most frequent class, the classes' shares as
probabilities, or for numbers their median.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tracin_core.training.config import TrainingConfig
from tracin_core.training.objective import LossFunction, Quality
from tracin_core.training.records import EpochRecord
from tracin_core.training.rounds import Verdict, typical_loss


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
