"""The labels that are compared: as given, as corrected, and after as many reviews at random.

Read from the database without the examples' contents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, func, select

from relabel.db.decisions.kinds import list_codes, list_states
from relabel.db.engine import reading_one_state
from relabel.db.project_rules import Project
from relabel.db.schema import (
    UNDECIDED,
    DecisionRow,
    ExampleRow,
    effective,
    label_of_example,
    status_of_example,
    value_of_example,
)
from relabel.text import Split
from relabel.worth.noise_rate import read_noise_rate

# What a control by chance alone draws from: its own numbers, whatever else a seed chooses.
_CONTROL = 20_231
# Fewer answers of an audit say too little about the share of wrong labels.
LEAST_AUDITED = 30
# "audit": the share of wrong labels is known from a random audit; "decisions": only what the
# decisions found is known, and how often chance alone would have met it.
ControlKind = Literal["audit", "decisions"]


@dataclass(frozen=True, eq=False)
class Labels:
    """Answers to learn, or to be judged by.

    Attributes:
        targets: Class indices, or numbers in their own unit, by position, shape ``(N,)``.
        kept: Which examples take part, shape ``(N,)``.
    """

    targets: npt.NDArray[Any]
    kept: npt.NDArray[np.bool_]

    def equals(self, other: Labels) -> bool:
        """Return whether a training on the others would be the same training."""
        return bool((self.kept == other.kept).all()) and bool(
            (self.targets[self.kept] == other.targets[other.kept]).all()
        )


@dataclass(frozen=True, eq=False)
class SplitLabels:
    """One split before and after its review.

    Attributes:
        given: Answers of the data.
        current: Answers in force; where none is decided, those of the data.
        decided: Which examples are decided, shape ``(N,)``; skipped ones are not.
        excluded: Which were excluded, shape ``(N,)``.
        ambiguous: How many were marked ambiguous, whose answer stays.
    """

    given: npt.NDArray[Any]
    current: npt.NDArray[Any]
    decided: npt.NDArray[np.bool_]
    excluded: npt.NDArray[np.bool_]
    ambiguous: int

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """Return which examples were found to be wrong: corrected, or excluded; ``(N,)``."""
        wrong: npt.NDArray[np.bool_] = self.decided & ((self.current != self.given) | self.excluded)
        return wrong

    def as_given(self) -> Labels:
        """Return the labels before the review, with every example."""
        return Labels(self.given, np.ones(len(self.given), dtype=bool))

    def as_corrected(self) -> Labels:
        """Return the labels in force, without excluded examples."""
        return Labels(self.current, ~self.excluded)

    def apply(self, chosen: npt.NDArray[np.intp]) -> Labels:
        """Return the labels where only the decisions at some positions have been made."""
        targets, kept = self.given.copy(), np.ones(len(self.given), dtype=bool)
        targets[chosen] = self.current[chosen]
        kept[chosen] = ~self.excluded[chosen]
        return Labels(targets, kept)


@dataclass(frozen=True)
class Reviewed:
    """Both splits, and the last event that they stand for."""

    train: SplitLabels
    test: SplitLabels
    last_event: int


@dataclass(frozen=True)
class AuditedRate:
    """The share of wrong labels as a random audit found it.

    Attributes:
        rate: 0 to 1.
        low: Lower end of its 95% interval.
        high: Upper end.
        drawn: Examples that were drawn and decided.
    """

    rate: float
    low: float
    high: float
    drawn: int


def read_reviewed(engine: Engine, project: Project) -> Reviewed:
    """Return a project's answers before and after the review, as of one moment."""
    is_regression = project.task == "regression"
    given = ExampleRow.given_value if is_regression else ExampleRow.given_label
    current = value_of_example if is_regression else label_of_example
    found: dict[Split, SplitLabels] = {}
    with reading_one_state(engine) as connection:
        for split in ("train", "test"):
            rows = connection.execute(
                select(given, current, status_of_example)
                .select_from(ExampleRow)
                .join(effective, effective.c.example_id == ExampleRow.id, isouter=True)
                .where(ExampleRow.project_id == project.id, ExampleRow.split == split)
                .order_by(ExampleRow.position)
            ).all()
            found[split] = _make_split(rows, is_regression)
        last = connection.scalar(
            select(func.max(DecisionRow.id)).where(DecisionRow.project_id == project.id)
        )
    return Reviewed(found["train"], found["test"], int(last or 0))


def _make_split(rows: Any, is_regression: bool) -> SplitLabels:
    kind: Any = np.float64 if is_regression else np.int64
    states = np.array([row[2] for row in rows], dtype=object)
    return SplitLabels(
        given=np.array([row[0] for row in rows], dtype=kind),
        current=np.array([row[1] for row in rows], dtype=kind),
        decided=~np.isin(states, list(UNDECIDED)),
        excluded=np.isin(states, list_states("exclude")),
        ambiguous=int(np.isin(states, list_states("mark")).sum()),
    )


def read_last_event(engine: Engine, project_id: int) -> int:
    """Return the number of a project's latest event; 0 where there is none."""
    with reading_one_state(engine) as connection:
        last = connection.scalar(
            select(func.max(DecisionRow.id)).where(DecisionRow.project_id == project_id)
        )
    return int(last or 0)


def count_events_after(engine: Engine, project_id: int, event: int) -> int:
    """Return how many decisions and undos have come after an event."""
    with reading_one_state(engine) as connection:
        later = select(func.count()).where(
            DecisionRow.project_id == project_id,
            DecisionRow.id > event,
            DecisionRow.action.not_in(list_codes("defer")),
        )
        return int(connection.scalar(later) or 0)


def read_audited(engine: Engine, project_id: int) -> AuditedRate | None:
    """Return what the project's audit says; None where there is none with enough answers."""
    found = read_noise_rate(engine, project_id)
    if found is None or found.num_audited < LEAST_AUDITED:
        return None
    rate = min(max(found.rate, 0.0), 1.0)
    return AuditedRate(rate, found.low, found.high, found.num_audited)


def draw_control(train: SplitLabels, seed: int, audited: AuditedRate | None) -> Labels:
    """Return the labels after as many reviews as there were, spent on random examples.

    With an audit the share of errors that chance meets is known, so as many errors are corrected
    as random reviews would find, and which ones is drawn from those that were found. Without one,
    random examples are drawn from all; those whose answer is known get it, and the others stay as
    they are, although some of them may be wrong: the control is at its lowest then.

    Args:
        train: The train split.
        seed: Chooses what is drawn; another one for every training.
        audited: What an audit says; None where there is none.
    """
    generator = np.random.default_rng((_CONTROL, seed))
    wrong, reviews = np.flatnonzero(train.wrong), int(train.decided.sum())
    if audited is None:
        drawn = generator.choice(len(train.given), reviews, replace=False)
        return train.apply(np.intersect1d(drawn, wrong))
    found = min(int(generator.binomial(reviews, audited.rate)), len(wrong))
    return train.apply(np.sort(generator.choice(wrong, found, replace=False)))
