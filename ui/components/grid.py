"""The queue's screen: many suspects side by side, selected and decided by pointer and keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from ui.components.assets import read_assets

_GRID = st.components.v2.component(
    "tracin_grid",
    html='<div class="selecting"></div>',
    css=read_assets("cards.css", "grid.css"),
    js=read_assets(
        "card_nodes.js",
        "fields.js",
        "sender.js",
        "grid/batches.js",
        "grid/kept.js",
        "grid/selection.js",
        "grid/cards.js",
        "grid/bar.js",
        "grid/keys.js",
        "grid.js",
    ),
)


@dataclass(frozen=True)
class GridEvent:
    """What a person asked of the page.

    Attributes:
        opened: The example that is to be looked at, or None.
        goes_on: Whether the next ones are wanted, as those that are shown are decided.
    """

    opened: int | None
    goes_on: bool


def show_grid(data: Mapping[str, Any], *, key: str) -> GridEvent:
    """Draw the suspects of a page of the queue.

    Args:
        data: The cards, what can be decided, and what a question to the server names.
        key: Widget key.
    """
    return _read_event(
        _GRID(key=key, data=dict(data), on_opened_change=_nothing, on_next_change=_nothing)
    )


def read_opened(key: str) -> int | None:
    """Return the example that was asked for of a grid which this run of the page does not draw."""
    return _read_event(st.session_state.get(key)).opened


def _read_event(result: Any) -> GridEvent:
    # What comes from the browser is untrusted: anything but the expected shape counts as no click.
    opened = getattr(result, "opened", None)
    return GridEvent(
        opened=opened if type(opened) is int else None,
        goes_on=bool(getattr(result, "next", None)),
    )


def _nothing() -> None:
    """Stand for a callback: its presence makes the trigger an attribute of the result."""
