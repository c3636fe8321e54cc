"""Conditions that a text stands in columns, or in what an example holds."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, and_, cast, exists, func, or_

from relabel.db.schema import ExampleRow


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
