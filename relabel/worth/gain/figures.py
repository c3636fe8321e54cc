"""From predictions to paired differences with their intervals.

Two things move a difference by chance: which training it was (initial weights, order of the
batches, what the control drew), and which test examples there happened to be. Both are told apart,
and together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from relabel.worth.gain.labels import Labels

RESAMPLES = 2_000
CONFIDENCE = 0.95
# Rows of the resampling that are in memory at a time.
_AT_ONCE = 64

# What is compared, the later one minus the earlier one.
ARMS = ("given", "corrected", "control")
PAIRS = (("given", "corrected"), ("given", "control"), ("control", "corrected"))


@dataclass(frozen=True)
class Interval:
    """A difference with its 95% intervals.

    Attributes:
        mean: Over the trainings.
        low: Lower end of the interval for both kinds of chance.
        high: Its upper end.
        seeds: Ends of the interval over trainings alone (Student's t).
        rows: Ends of the interval over test examples alone (bootstrap).
    """

    mean: float
    low: float
    high: float
    seeds: tuple[float, float]
    rows: tuple[float, float]

    @property
    def is_certain(self) -> bool:
        """Return whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Interval:
        """Return the interval that ``asdict`` described."""
        numbers = [float(values[name]) for name in ("mean", "low", "high")]
        ends = [tuple(map(float, values[name])) for name in ("seeds", "rows")]
        if (
            any(len(each) != 2 for each in ends)
            or not np.isfinite([*numbers, *sum(ends, ())]).all()
        ):
            raise ValueError(f"found the interval {values!r:.200}")
        return cls(*numbers, *ends)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ClassGain:
    """What the corrections did to one class of the test examples.

    Attributes:
        label: Class index.
        rows: Test examples of it.
        given: Share of them that was predicted, labels as given, 0 to 1.
        corrected: The same, labels as corrected.
        control: The same, as many reviews at random.
        difference: Corrected minus given.
    """

    label: int
    rows: int
    given: float
    corrected: float
    control: float
    difference: Interval


@dataclass(frozen=True)
class Judged:
    """How well each set of labels taught, by one set of test labels.

    Attributes:
        by: "given", or "current" where test labels were reviewed, too.
        rows: Test examples that judge.
        arms: Of each set of labels the measure by training: accuracy 0 to 1, or R2, at most 1.
        differences: By "given-corrected" and so on, the later minus the earlier.
        classes: By class; empty for regression.
        guess: Share of the most frequent class, 0 to 1; 0 for regression.
    """

    by: str
    rows: int
    arms: Mapping[str, tuple[float, ...]]
    differences: Mapping[str, Interval]
    classes: tuple[ClassGain, ...]
    guess: float

    def mean(self, arm: str) -> float:
        """Return an arm's measure, the mean over the trainings."""
        return float(np.mean(self.arms[arm]))

    def difference(self, earlier: str, later: str) -> Interval:
        """Return how much more the later arm reached."""
        return self.differences[f"{earlier}-{later}"]

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` makes an equal one of."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Judged:
        """Return what ``to_json`` described.

        Raises:
            LookupError, TypeError, ValueError: If it is none.
        """
        classes = tuple(
            ClassGain(
                label=int(one["label"]),
                rows=int(one["rows"]),
                given=float(one["given"]),
                corrected=float(one["corrected"]),
                control=float(one["control"]),
                difference=Interval.from_json(one["difference"]),
            )
            for one in values["classes"]
        )
        differences = {name: Interval.from_json(one) for name, one in values["differences"].items()}
        if set(differences) != {"-".join(pair) for pair in PAIRS}:
            raise ValueError(f"found the differences {sorted(differences)}")
        return cls(
            by=str(values["by"]),
            rows=int(values["rows"]),
            arms={arm: tuple(map(float, values["arms"][arm])) for arm in ARMS},
            differences=differences,
            classes=classes,
            guess=float(values["guess"]),
        )


def judge_predictions(
    predictions: Sequence[npt.NDArray[Any]], test: Labels, *, by: str, num_classes: int, seed: int
) -> Judged:
    """Compare what was taught by each set of labels.

    Args:
        predictions: Of each training what its models say of the test examples, in the order of
            ``ARMS``, shape ``(3, M)``.
        test: Labels that judge.
        by: Their name.
        num_classes: K; 0 for regression.
        seed: Of the resampling.
    """
    said = np.stack(predictions)[:, :, test.kept]  # (S, A, M)
    truth = test.targets[test.kept]
    if num_classes == 0:
        return _judge_numbers(said, truth, by, seed)
    right = (said == truth).astype(np.float64)
    classes = []
    for label in np.unique(truth).tolist():
        of_class = right[:, :, truth == label]
        given, corrected, control = of_class.mean(axis=(0, 2)).tolist()
        classes.append(
            ClassGain(
                label=label,
                rows=of_class.shape[2],
                given=given,
                corrected=corrected,
                control=control,
                difference=measure_share(of_class[:, 1] - of_class[:, 0], seed),
            )
        )
    return Judged(
        by=by,
        rows=len(truth),
        arms={arm: tuple(right[:, i].mean(axis=1).tolist()) for i, arm in enumerate(ARMS)},
        differences={
            f"{one}-{other}": measure_share(
                right[:, ARMS.index(other)] - right[:, ARMS.index(one)], seed
            )
            for one, other in PAIRS
        },
        classes=tuple(classes),
        guess=float(np.bincount(truth).max() / len(truth)),
    )


def measure_share(differences: npt.NDArray[np.float64], seed: int) -> Interval:
    """Return the mean of paired differences with its intervals.

    Args:
        differences: Of each training and test example, shape ``(S, M)``.
        seed: Of the resampling.
    """
    by_row = differences.mean(axis=0)
    values, counts = np.unique(by_row, return_counts=True)
    generator = np.random.default_rng(seed)
    # Which rows were drawn does not matter, only how many of each value.
    drawn = generator.multinomial(len(by_row), counts / len(by_row), size=RESAMPLES)
    return _combine(differences.mean(axis=1), drawn @ values / len(by_row))


def _combine(by_seed: npt.NDArray[np.float64], resampled: npt.NDArray[np.float64]) -> Interval:
    """Return the interval for both kinds of chance.

    Half widths are added as independent ones are, by their squares. Chance that belongs to a
    training and a row together is in both, so that the interval is rather too wide than too
    narrow.
    """
    mean, count = float(by_seed.mean()), len(by_seed)
    error = float(by_seed.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, max(count - 1, 1))) * error
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = (float(end) for end in np.quantile(resampled, tails))
    below, above = max(mean - low, 0.0), max(high - mean, 0.0)
    return Interval(
        mean,
        mean - float(np.hypot(half, below)),
        mean + float(np.hypot(half, above)),
        (mean - half, mean + half),
        (low, high),
    )


def _judge_numbers(said: npt.NDArray[Any], truth: npt.NDArray[Any], by: str, seed: int) -> Judged:
    errors = np.square(said - truth)  # (S, A, M)
    spread = np.square(truth - truth.mean())
    whole = max(float(spread.sum()), 1e-300)
    arms = {
        arm: tuple((1 - errors[:, i].sum(axis=1) / whole).tolist()) for i, arm in enumerate(ARMS)
    }
    return Judged(
        by=by,
        rows=len(truth),
        arms=arms,
        differences={
            f"{one}-{other}": _measure_explained(
                errors[:, ARMS.index(one)] - errors[:, ARMS.index(other)], truth, seed
            )
            for one, other in PAIRS
        },
        classes=(),
        guess=0.0,
    )


def _measure_explained(
    less: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], seed: int
) -> Interval:
    """Return the difference in explained variance with its intervals.

    Args:
        less: By how much the later squared error is smaller, shape ``(S, M)``.
        truth: Targets, shape ``(M,)``.
        seed: Of the resampling.
    """
    whole = max(float(np.square(truth - truth.mean()).sum()), 1e-300)
    by_row, generator = less.mean(axis=0), np.random.default_rng(seed)
    resampled = []
    for _ in range(0, RESAMPLES, _AT_ONCE):
        drawn = generator.integers(0, len(truth), (_AT_ONCE, len(truth)))
        spread = truth[drawn].var(axis=1) * len(truth)
        resampled.append(by_row[drawn].sum(axis=1) / np.maximum(spread, 1e-300))
    return _combine(less.sum(axis=1) / whole, np.concatenate(resampled))
