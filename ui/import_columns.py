"""Boxes for the columns that are neither input nor answer: split, key, truth, status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from tracin_core.sources.records import Column, Preview

NO_COLUMN = "–"


def draw_helpers(found: Preview, key: str) -> dict[str, Any]:
    """Draw the columns that are neither input nor answer."""
    names, options = [column.name for column in found.columns], found.options
    said: dict[str, Any] = {}
    with st.container(horizontal=True):
        said["split"] = select_column(
            "Column that tells train from test", names, options.split, f"{key}-split", width=250
        )
        if said["split"] is not None:
            values = _examples_of(found.columns, said["split"])
            for field, words in (("train_values", "train with"), ("test_values", "test with")):
                current = getattr(options, field) if said["split"] == options.split else None
                picked = st.multiselect(
                    f"Values of those to {words}",
                    list(dict.fromkeys([*(current or ()), *values])),
                    default=list(current or ()),
                    accept_new_options=True,
                    placeholder="Found out",
                    key=f"{key}-{said['split']}-{field}",
                    width=250,
                )
                said[field] = tuple(picked) or None
        else:
            said |= {"train_values": None, "test_values": None}
    with st.container(horizontal=True):
        said["key"] = select_column(
            "Column with a lasting name",
            names,
            options.key,
            f"{key}-key",
            width=250,
            help="A name of each example that stays when the data grows, such as an id. Without "
            "one, examples are told apart by their content.",
        )
        said["truth"] = select_column(
            "Column with the truth",
            names,
            options.truth,
            f"{key}-truth",
            width=250,
            help="What is truly right, where that is known. It is kept apart and only used to "
            "evaluate; no page of the review shows it.",
        )
    return said | _draw_status(found, names, key)


def _draw_status(found: Preview, names: list[str], key: str) -> dict[str, Any]:
    """Draw the column that says whether a row's label holds, and with which values."""
    options = found.options
    with st.container(horizontal=True):
        status = select_column(
            "Column that says whether a label holds",
            names,
            options.status,
            f"{key}-status",
            width=250,
            help="Annotation tools note there that an answer was rejected, ignored or cancelled. "
            "Rows with other values than those chosen are left out; choose all to take every row.",
        )
        if status is None:
            return {"status": None, "status_values": None}
        current = options.status_values if status == options.status else None
        picked = st.multiselect(
            "Values with which a row is taken",
            list(dict.fromkeys([*(current or ()), *_examples_of(found.columns, status)])),
            default=list(current or ()),
            accept_new_options=True,
            placeholder="Found out",
            key=f"{key}-{status}-status-values",
            width=250,
        )
    return {"status": status, "status_values": tuple(picked) or None}


def select_column(
    label: str,
    names: list[str],
    current: str | None,
    key: str,
    *,
    width: int | str = "stretch",
    help: str | None = None,
) -> str | None:
    """Draw a choice among the columns or none of them."""
    if key not in st.session_state:
        st.session_state[key] = current if current in names else None
    return st.selectbox(
        label,
        names,
        index=None,
        placeholder=NO_COLUMN,
        key=key,
        width=width,  # type: ignore[arg-type]
        help=help,
    )


def _examples_of(columns: Sequence[Column], name: str) -> list[str]:
    return next((list(column.examples) for column in columns if column.name == name), [])
