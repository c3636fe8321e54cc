"""A table's row that is in no data set: one field a column, typed by a person."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from tracin_core.errors import InputError
from tracin_core.reviews.examples import find_by_positions
from tracin_core.reviews.projects import Project
from tracin_core.texts import shorten
from ui.fields import field_text
from ui.numbers import read_number
from ui.plain_text import escape_markdown
from ui.session import get_engine

Row = dict[str, float | str | None]

_ASKED = "new-row-asked"
_NAME_LENGTH = 60  # characters of a column's name
_MAX_VALUE = 500  # characters


def draw_row_input(project: Project) -> Row | None:
    """Draw a field a column, filled from the first train row, to try what a change does.

    Returns:
        The row, once *Explain* has been pressed; None before.

    Raises:
        InputError: If a numeric column holds something else.
    """
    columns = [dict(column) for column in project.settings.get("columns", ())]
    example = _first_row(project)
    with st.form(f"new-row-{project.id}"):
        st.caption("Filled from the first train row. Change what you like; empty means missing.")
        typed: dict[str, str] = {}
        for place, holder in zip(columns, _spread(len(columns)), strict=True):
            name = str(place["name"])
            typed[name] = holder.text_input(
                escape_markdown(shorten(name, _NAME_LENGTH)),
                value=_prefill(example.get(name)),
                key=f"new-row-{project.id}-{name}",
                max_chars=_MAX_VALUE,
            )
        if st.form_submit_button("Explain", type="primary", key="explain-row"):
            st.session_state[_ASKED] = project.id
    if st.session_state.get(_ASKED) != project.id:
        return None
    kinds = {str(column["name"]): str(column.get("kind", "category")) for column in columns}
    return {name: read_value(name, kinds[name], text) for name, text in typed.items()}


def read_value(name: str, kind: str, typed: str) -> float | str | None:
    """Return what a person typed into a column's field; None where it is empty.

    Raises:
        InputError: If the column is numeric and the text is not.
    """
    text = typed.strip()
    if not text:
        return None
    if kind != "number":
        return text
    value = read_number(text)
    if value is None:
        raise InputError(
            f"The column {name} holds “{text[:40]}”, expected a number such as 12500 or -3.5. "
            "Correct it, or empty the field where the number is not known."
        )
    return value


def _first_row(project: Project) -> Mapping[str, object]:
    [view] = find_by_positions(get_engine(), project.id, None, "train", [0])
    return view.fields or {}


def _prefill(value: object) -> str:
    return "" if value is None else field_text(value).replace(",", "")


def _spread(count: int) -> list[st.delta_generator.DeltaGenerator]:
    """Return places for so many fields, three beside each other."""
    columns = st.columns(3)
    return [columns[number % 3] for number in range(count)]
