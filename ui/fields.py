"""A table's rows on the screen: values as text, and which of them differ from another row's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from relabel.db.examples import find_by_positions
from relabel.db.project_rules import Project
from relabel.db.stats import count_reviewed
from relabel.text import format_number, shorten
from ui.components.cards import CardField, Piece
from ui.session import get_engine

Fields = Mapping[str, Any]
_VALUE_LENGTH = 80  # characters
# Train rows that tell how widely a column spreads: its deviation to about 3%.
_MEASURED_ROWS = 500
# Two numbers differ, for the eye, when they lie further apart than this share of the deviation.
NOTICED_DEVIATIONS = 0.5


def field_text(value: object) -> str:
    """Return one value as text; a missing one as a dash."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format_number(float(value))
    return shorten(str(value), _VALUE_LENGTH)


def name_texts(text: str | None, fields: Fields | None) -> str | None:
    """Return a text as it is shown: one that was joined, such as a pair, by its columns' names."""
    if text is None or not fields:
        return text
    parts = [f"{shorten(name, _VALUE_LENGTH)}: {value}" for name, value in fields.items() if value]
    return "\n\n".join(parts)


def name_pieces(pieces: Sequence[Piece], fields: Fields | None) -> tuple[Piece, ...]:
    """Return a text in pieces with its columns' names in it, as ``name_texts`` shows it.

    Args:
        pieces: The whole text; nothing is marked across two of its columns.
        fields: The texts that it was joined of, by their columns; None where it is one.
    """
    text = "".join(piece for piece, _ in pieces)
    names: list[tuple[int, str]] = []
    end = 0
    for name, value in (fields or {}).items():
        if value:
            start = text.find(str(value).strip(), end)
            if start < 0:  # not what it was joined of
                return tuple(pieces)
            end = start + len(str(value).strip())
            names.append((start, f"{shorten(name, _VALUE_LENGTH)}: "))
    named: list[Piece] = []
    place = 0
    for piece, grade in pieces:
        cut = 0
        while names and names[0][0] < place + len(piece):
            start, name = names.pop(0)
            named += [(piece[cut : start - place], grade), (name, 0)]
            cut = start - place
        named.append((piece[cut:], grade))
        place += len(piece)
    return tuple(piece for piece in named if piece[0])


def row_of(text: str | None, fields: Fields | None) -> Fields:
    """Return the columns of a table's row; nothing for a text, whose columns are in it."""
    return fields or {} if text is None else {}


def list_fields(fields: Fields) -> list[tuple[str, str]]:
    """Return names and values in the order of the columns."""
    return [(shorten(name, _VALUE_LENGTH), field_text(value)) for name, value in fields.items()]


def card_fields(
    fields: Fields | None, beside: Fields | None = None, spreads: Mapping[str, float] | None = None
) -> tuple[CardField, ...]:
    """Return a row as a card shows it.

    Args:
        fields: The row; None for images and texts.
        beside: The row it is compared with; None marks nothing.
        spreads: Standard deviation of each numeric column.
    """
    return tuple(
        CardField(
            name=shorten(name, _VALUE_LENGTH),
            value=field_text(value),
            differs=beside is not None
            and differ(value, beside.get(name), (spreads or {}).get(name, 0.0)),
        )
        for name, value in (fields or {}).items()
    )


def differ(value: object, other: object, spread: float) -> bool:
    """Return whether two values of a column are noticeably different.

    Args:
        value: A number, a text or None.
        other: The same of the other row.
        spread: Standard deviation of the column, for numbers.
    """
    if isinstance(value, int | float) and isinstance(other, int | float):
        return abs(float(value) - float(other)) > NOTICED_DEVIATIONS * spread
    return value != other


def read_spreads(project: Project) -> Mapping[str, float]:
    """Return the standard deviation of each numeric column over a sample of the train rows."""
    if project.kind != "table":
        return {}
    _, total = count_reviewed(get_engine(), project.id)
    return _measure_spreads(project.id, total)


@st.cache_data(show_spinner=False, max_entries=32)
def _measure_spreads(project_id: int, total: int) -> dict[str, float]:
    positions = np.unique(np.linspace(0, total - 1, min(total, _MEASURED_ROWS), dtype=int))
    views = find_by_positions(get_engine(), project_id, None, "train", positions.tolist())
    columns: dict[str, list[float]] = {}
    for view in views:
        for name, value in (view.fields or {}).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                columns.setdefault(name, []).append(float(value))
    return {name: float(np.nanstd(values)) for name, values in columns.items()}
