"""The kinds of decision: one table that schema, rules, history, export and screens read.

A new kind is an entry of ``DECISION_KINDS`` and a migration, because the database's CHECK on
``decision.action`` is made from this table, and so is what ``current_label`` calls its state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What a decision does to its example. "confirm": the given answer stays and is right; "correct":
# another answer takes its place; "exclude": it is left out of training; "mark": it is decided, and
# the answer stays; "defer": nothing is decided yet, it comes again; "undo": the decision on top is
# taken off.
Effect = Literal["confirm", "correct", "exclude", "mark", "defer", "undo"]

PENDING = "pending"
# Keys of the review that are no kind's own: the model's and the opponents' answer, a number whose
# point is moved, the note and another number, a class that is searched for, the picture's pixels,
# and the classes.
TAKEN_KEYS = frozenset("mopnvcz0123456789")


@dataclass(frozen=True, kw_only=True)
class DecisionKind:
    """One thing that a person can decide about an example.

    Attributes:
        code: As the database and exports name it.
        state: What an example is while the decision is in force; "" for an undo.
        key: The keyboard's key, in lower case; "" where the answers have keys of their own.
        title: The word on the button, in filters and in the history.
        state_title: The word for the state.
        effect: What it does to the example.
        told: Of an event, after the person's name; ``{what}`` is "label" or "value", ``{given}``
            and ``{new}`` are the answers.
        recorded: Of the press, to the person; ``{given}`` and ``{new}`` are the answers.
    """

    code: str
    state: str
    key: str
    title: str
    state_title: str
    effect: Effect
    told: str
    recorded: str


KEEP = DecisionKind(
    code="keep",
    state="kept",
    key="k",
    title="Keep",
    state_title="Kept",
    effect="confirm",
    told="kept the {what} {given}",
    recorded="{given} kept",
)
RELABEL = DecisionKind(
    code="relabel",
    state="relabeled",
    key="",
    title="Relabel",
    state_title="Relabelled",
    effect="correct",
    told="relabelled it from {given} to {new}",
    recorded="{given} relabelled to {new}",
)
UNDO = DecisionKind(
    code="undo",
    state="",
    key="u",
    title="Undo",
    state_title="",
    effect="undo",
    told="undid a decision on it",
    recorded="",
)
# In the order of the buttons.
DECISION_KINDS: list[DecisionKind] = [
    KEEP,
    RELABEL,
    DecisionKind(
        code="exclude",
        state="excluded",
        key="x",
        title="Exclude",
        state_title="Excluded",
        effect="exclude",
        told="excluded it",
        recorded="{given} excluded",
    ),
    DecisionKind(
        code="ambiguous",
        state="ambiguous",
        key="a",
        title="Ambiguous",
        state_title="Ambiguous",
        effect="mark",
        told="marked it ambiguous",
        recorded="{given} marked ambiguous",
    ),
    DecisionKind(
        code="skip",
        state="skipped",
        key="s",
        title="Skip",
        state_title="Skipped",
        effect="defer",
        told="skipped it",
        recorded="skipped; it comes again at the end",
    ),
    UNDO,
]


def find_kind(code: str) -> DecisionKind:
    """Return the kind of a code.

    Raises:
        KeyError: If there is none.
    """
    return {kind.code: kind for kind in DECISION_KINDS}[code]


def list_codes(*effects: Effect) -> tuple[str, ...]:
    """Return the codes of the kinds with one of these effects; of all kinds without any."""
    return tuple(kind.code for kind in DECISION_KINDS if not effects or kind.effect in effects)


def list_states(*effects: Effect) -> tuple[str, ...]:
    """Return the states that decisions with one of these effects bring about; of all without any.

    "pending" is not among them: no decision brings it about.
    """
    chosen = [kind for kind in DECISION_KINDS if not effects or kind.effect in effects]
    return tuple(kind.state for kind in chosen if kind.state)


def sql_condition(column: str, codes: tuple[str, ...]) -> str:
    """Return the SQL condition that a column holds one of some codes, for a CHECK."""
    quoted = [f"'{code}'" for code in codes]
    return f"{column} = {quoted[0]}" if len(quoted) == 1 else f"{column} IN ({', '.join(quoted)})"
