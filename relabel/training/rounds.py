"""How many epochs: rounds of a falling learning rate, as long as they lower the held-out loss.

A learning rate that falls to zero needs to know its end beforehand, and how many epochs a data set
needs cannot be known. So the epochs are gone through in rounds, each with the rate from its
beginning (warm restarts, Loshchilov and Hutter 2017, arXiv:1608.03983), and each is compared with
the one before it on examples that are not trained on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# Why a training ended.
Reason = Literal["fixed", "patience", "settled", "rose", "most epochs", "time", "too few"]

# A round must lower the loss by so large a part of it: less is not worth as many epochs.
LEAST_FALL = 0.02
# ... and by one standard error of the examples' own differences, as Breiman et al. 1984 (CART, Sec.
# 3.4.3) choose among sizes: with few examples more would miss what is plain to see.
STANDARD_ERRORS = 1.0
# The worst examples are left out, so large a part of them: one target of 1e9 would be all that a
# mean loss says, before and after.
LEFT_OUT = 0.02
LEAST_TO_LEAVE_OUT = 20
# Rounds without success before a training ends, while the network is still guessing: what cannot
# be seen in the loss may be on its way (texts of many words stay at the start for long).
ROUNDS_OF_GUESSING = 2
# A loss that stands by so large a part, and for so many epochs, above its lowest is learning by
# heart; the last epochs of a round, with their small steps, rarely bring so much.
RISE = 0.10
LEAST_EPOCHS_OF_RISE = 3


@dataclass(frozen=True)
class Verdict:
    """What is to become of a training after an epoch.

    Attributes:
        reason: Why it is over, or None while it goes on.
        kept: Epochs that stay, from the first one on.
        before: Watched loss at the end of the last round but one that was compared.
        after: The same of the last one; for "rose" the lowest and the last loss.
    """

    reason: Reason | None
    kept: int
    before: float | None = None
    after: float | None = None


def has_fallen(before: Sequence[float], after: Sequence[float]) -> bool:
    """Return whether the loss fell, and not by chance or by next to nothing.

    Args:
        before: Loss of each watched example, shape ``(N,)``.
        after: The same of the same examples later.
    """
    pairs = sorted(zip(before, after, strict=True), key=max)
    pairs = pairs[: _count_left(len(pairs))]
    number = len(pairs)
    if number < 2:
        return False
    falls = [one - other for one, other in pairs]
    mean = sum(falls) / number
    variance = sum((fall - mean) ** 2 for fall in falls) / (number - 1)
    luck = STANDARD_ERRORS * math.sqrt(variance / number)
    return mean > max(luck, LEAST_FALL * sum(one for one, _ in pairs) / number)


def typical_loss(losses: Sequence[float]) -> float:
    """Return the mean loss without the worst examples, as ``has_fallen`` leaves them out."""
    left = sorted(losses)[: _count_left(len(losses))]
    return sum(left) / len(left)


def _count_left(number: int) -> int:
    return number - math.ceil(LEFT_OUT * number) if number >= LEAST_TO_LEAVE_OUT else number


def judge_course(
    means: Sequence[float],
    ends: Sequence[Sequence[float]],
    guessing: Sequence[bool],
    *,
    round_epochs: int,
    rounds: int,
    seconds: float,
    max_seconds: float | None,
) -> Verdict:
    """Return whether a training in rounds goes on.

    Args:
        means: Watched loss after each epoch so far, shape ``(E,)``.
        ends: Watched loss of each example at the end of each round so far, shape ``(R, N)``.
        guessing: Whether the network was no better than guessing at each round's end.
        round_epochs: Epochs of a round.
        rounds: Most rounds.
        seconds: What the training took so far.
        max_seconds: Within which a further round must end; None for no limit.
    """
    if not means:
        return Verdict(None, 0)
    best, missed = _compare_rounds(ends)
    kept = (best + 1) * round_epochs
    in_round = len(means) % round_epochs
    start = len(means) - (in_round or round_epochs)
    lowest = min(range(start, len(means)), key=lambda epoch: means[epoch])
    first_round = start == 0
    if (in_round or first_round) and _rises(means[lowest:], round_epochs):
        return Verdict("rose", lowest + 1 if first_round else kept, means[lowest], means[-1])
    if in_round or not ends:
        return Verdict(None, len(means))
    compared = (
        (typical_loss(ends[best - 1]) if best and not missed else None),
        typical_loss(ends[best]),
    )
    if missed:
        compared = typical_loss(ends[best]), typical_loss(ends[-1])
    allowed = ROUNDS_OF_GUESSING if guessing[best] else 1
    if missed >= allowed:
        return Verdict("settled", kept, *compared)
    if len(ends) >= rounds:
        return Verdict("most epochs", kept, *compared)
    if max_seconds is not None and seconds * (len(ends) + 1) / len(ends) > max_seconds:
        return Verdict("time", kept, *compared)
    return Verdict(None, len(means))


def _compare_rounds(ends: Sequence[Sequence[float]]) -> tuple[int, int]:
    """Return the last round that lowered the loss, and how many came after it in vain."""
    best = 0
    for number in range(1, len(ends)):
        if has_fallen(ends[best], ends[number]):
            best = number
    return best, max(len(ends) - 1 - best, 0)


def _rises(since_lowest: Sequence[float], round_epochs: int) -> bool:
    patience = max(LEAST_EPOCHS_OF_RISE, round_epochs // 4)
    later = since_lowest[1:]
    return len(later) >= patience and min(later[-patience:]) > (1 + RISE) * since_lowest[0]
