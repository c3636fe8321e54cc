"""The words of the review: actions, states, and how events turn into states.

Events form a stack. Each decision is laid on top of the earlier ones of its example; an undo is
an event too, which takes the topmost decision off. What lies on top is the effective decision:
after the undo of a second decision the first is in force again, and after the undo of the only
one the example is pending.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    Text,
    and_,
    case,
    cast,
    column,
    exists,
    func,
    or_,
    select,
    table,
)

from tracin_core.reviews.decision_kinds import DECISION_KINDS, PENDING, list_codes, list_states
from tracin_core.reviews.schema import DecisionRow, ExampleRow

ACTIONS = list_codes()
STATE_OF_ACTION = {kind.code: kind.state for kind in DECISION_KINDS if kind.state}
STATUSES = (PENDING, *list_states())
# A deferred example has been seen but not decided: it waits, behind those nobody has seen.
UNDECIDED = (PENDING, *list_states("defer"))
DEFERRING = list_codes("defer")

# Where a decision was made. Those from the ranked queue never feed an estimate of the noise
# rate, which needs random draws ("audit"), so the difference must be kept.
SOURCES = ("queue", "audit", "inspect", "history", "import")

# Columns of the view of the same name, which the migrations create.
effective = table(
    "effective_decision",
    column("id", DecisionRow.__table__.c.id.type),
    column("project_id", DecisionRow.__table__.c.project_id.type),
    column("example_id", DecisionRow.__table__.c.example_id.type),
    column("version", DecisionRow.__table__.c.version.type),
    column("reviewer_id", DecisionRow.__table__.c.reviewer_id.type),
    column("action", String()),
    column("new_label", DecisionRow.__table__.c.new_label.type),
    column("note", String()),
    column("created_at", DecisionRow.__table__.c.created_at.type),
    column("new_value", DecisionRow.__table__.c.new_value.type),
)

# Over `example LEFT JOIN effective_decision`.
status_of_example: ColumnElement[str] = case(
    STATE_OF_ACTION, value=effective.c.action, else_=PENDING
)
label_of_example: ColumnElement[int] = func.coalesce(effective.c.new_label, ExampleRow.given_label)
value_of_example: ColumnElement[float | None] = func.coalesce(
    effective.c.new_value, ExampleRow.given_value
)


def version_of(example_id: Any) -> ColumnElement[int]:
    """Return the version of an example: the number of its events.

    Versions count from 1 without gaps, so the number is the largest version, one index probe.
    """
    return (
        select(func.coalesce(func.max(DecisionRow.version), 0))
        .where(DecisionRow.example_id == example_id)
        .correlate_except(DecisionRow)
        .scalar_subquery()
    )


def contains(connection: Connection, columns: list[Any], wanted: str) -> ColumnElement[bool]:
    r"""Return the condition that one of the columns contains a text, in upper or lower case.

    ``%``, ``_`` and ``\`` stand for themselves. SQLite folds the case of ASCII letters only.
    """
    # Neither database can hold a NUL in a text, and PostgreSQL refuses one as a parameter.
    literal = wanted.replace("\x00", "\ufffd").encode(errors="replace").decode()
    for special in ("\\", "%", "_"):
        literal = literal.replace(special, f"\\{special}")
    pattern = f"%{literal}%"
    if connection.dialect.name == "sqlite":
        # Its LIKE ignores case; `ilike` would fold every text with lower() first, twice as slow.
        return or_(*(one.like(pattern, escape="\\") for one in columns))
    return or_(*(one.ilike(pattern, escape="\\") for one in columns))


def example_says(connection: Connection, wanted: str) -> ColumnElement[bool]:
    """Return the condition that an example's text, key or row contains a text; see `contains`.

    Of a row the values are searched: the names of the columns stand in every row. Of a picture
    its place is searched, which is a path; a table's name would stand in the place of every row.
    """
    unfold = func.json_each if connection.dialect.name == "sqlite" else func.json_each_text
    cell = unfold(ExampleRow.fields).table_valued("key", "value")
    in_cell = exists().select_from(cell).where(contains(connection, [cell.c.value], wanted))
    # First the row as it is stored, which is cheap; unfolding each of 200,000 took a second.
    stored = json.dumps(wanted, ensure_ascii=False)[1:-1]
    in_row = contains(connection, [cast(ExampleRow.fields, Text)], stored)
    in_path = contains(connection, [ExampleRow.source_place], wanted)
    return or_(
        contains(connection, [ExampleRow.text, ExampleRow.key], wanted),
        and_(in_row, in_cell),
        and_(ExampleRow.media_path.is_not(None), in_path),
    )
