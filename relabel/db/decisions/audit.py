"""On which evidence a decision was made, and what it changed: the columns that an audit reads.

They are written with the event and never changed. Events of versions before these columns have
none of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Connection, Row, bindparam, exists, select
from sqlalchemy.orm import aliased

from relabel.db.decisions.kinds import list_codes
from relabel.db.schema import DecisionRow, effective
from relabel.errors import InvalidDecisionError
from relabel.text import find_text_fault

if TYPE_CHECKING:
    from relabel.db.decisions.recording import Decision, NewDecision

_LONGEST_SIGNAL = 200  # characters of a signal's name
_TOP = 1 + 1e-6  # a little more than one is what rounding makes
# What an audit reads of an event beside the event itself.
AUDIT_COLUMNS = (
    DecisionRow.signal,
    DecisionRow.suggested_label,
    DecisionRow.suggested_value,
    DecisionRow.suggested_probability,
    DecisionRow.label_before,
    DecisionRow.label_after,
    DecisionRow.value_before,
    DecisionRow.value_after,
    DecisionRow.stated_at,
)
Answer = tuple[int | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What was on the screen beside the example, its rank and its score.

    Attributes:
        signal: By which the suspects were ranked.
        suggested_label: The class that was suggested; None for a regression, or for none.
        suggested_value: The number that was suggested.
        suggested_probability: How probable the suggested class was called.
    """

    signal: str | None = None
    suggested_label: int | None = None
    suggested_value: float | None = None
    suggested_probability: float | None = None

    def check(self, classes: list[str]) -> None:
        """Check that it can have been on a screen.

        Raises:
            InvalidDecisionError: If not.
        """
        signal, label = self.signal, self.suggested_label
        value, probability = self.suggested_value, self.suggested_probability
        is_sound = (
            (signal is None or (len(signal) <= _LONGEST_SIGNAL and not find_text_fault(signal)))
            and (label is None or 0 <= label < len(classes))
            and (value is None or math.isfinite(value))
            and (probability is None or 0 <= probability <= _TOP)
        )
        if not is_sound:
            raise InvalidDecisionError(
                "The decision came with a suggestion that no screen can have shown. Nothing was "
                "recorded. Reload the page and decide again."
            )


# Of a decision that was made on no screen, or before what was shown was kept.
NOTHING_SHOWN = Shown()


# Made once: a statement takes longer to build than this one to answer.
_BEFORE = select(effective.c.new_label, effective.c.new_value).where(
    effective.c.example_id == bindparam("example_id", type_=BigInteger)
)


def describe_decision(
    connection: Connection, example: Row[*tuple[Any, ...]], new: NewDecision
) -> dict[str, Any]:
    """Return the audit's columns of a decision that is about to be appended.

    Args:
        connection: Of the transaction, which holds the example's lock.
        example: With its id, its given answer, and the task and the classes of its project.
        new: The decision.

    Raises:
        InvalidDecisionError: If no screen can have shown what it says.
    """
    shown = new.shown
    shown.check(example.classes)
    before = connection.execute(_BEFORE, {"example_id": example.id}).one_or_none()
    return {
        "signal": shown.signal,
        "suggested_label": shown.suggested_label,
        "suggested_value": shown.suggested_value,
        "suggested_probability": shown.suggested_probability,
        "stated_at": new.stated_at,
        **_describe_change(example, before, (new.new_label, new.new_value)),
    }


def describe_change(
    *, regression: bool, given: Answer, before: Answer | None, after: Answer | None
) -> dict[str, Any]:
    """Return the columns of what an event changes.

    Args:
        regression: Whether the answers are numbers.
        given: Label and value of the example as it was imported.
        before: New label and new value of the decision in force before; None where there is none.
        after: The same of the decision in force afterwards.
    """
    place = 1 if regression else 0
    what = "value" if regression else "label"

    def name(answer: Answer | None) -> int | float | None:
        new = None if answer is None else answer[place]
        return given[place] if new is None else new

    return {f"{what}_before": name(before), f"{what}_after": name(after)}


def describe_undo(
    connection: Connection, example: Row[*tuple[Any, ...]], undone: Decision
) -> dict[str, Any]:
    """Return the audit's columns of an undo that is about to be appended.

    Args:
        connection: Of the transaction, which holds the example's lock.
        example: With its id, its given answer, and the task of its project.
        undone: The decision that is taken back.
    """
    below = find_below(connection, example.id, undone.id)
    return _describe_change(example, (undone.new_label, undone.new_value), below)


def find_below(connection: Connection, example_id: int, decision_id: int) -> Answer | None:
    """Return what is in force again once a decision is taken back; None where nothing is."""
    undo = aliased(DecisionRow)
    below = connection.execute(
        select(DecisionRow.new_label, DecisionRow.new_value)
        .where(
            DecisionRow.example_id == example_id,
            DecisionRow.id != decision_id,
            DecisionRow.action.not_in(list_codes("undo")),
            ~exists().where(undo.undoes == DecisionRow.id),
        )
        .order_by(DecisionRow.version.desc())
        .limit(1)
    ).one_or_none()
    return None if below is None else (below.new_label, below.new_value)


def _describe_change(
    example: Row[*tuple[Any, ...]],
    before: Answer | Row[*tuple[Any, ...]] | None,
    after: Answer | Row[*tuple[Any, ...]] | None,
) -> dict[str, Any]:
    return describe_change(
        regression=example.task == "regression",
        given=(example.given_label, example.given_value),
        before=None if before is None else (before[0], before[1]),
        after=None if after is None else (after[0], after[1]),
    )
