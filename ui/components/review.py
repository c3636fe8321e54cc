"""The review's screen: it holds the next suspects, shows one, and sends what is decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from ui.components.assets import read_assets

_REVIEW = st.components.v2.component(
    "tracin_review",
    html='<div class="review"></div>',
    css=read_assets("example.css", "cards.css", "review.css"),
    js=read_assets(
        "card_nodes.js",
        "example_nodes.js",
        "sender.js",
        "outbox.js",
        "fields.js",
        "leases.js",
        "review/nodes.js",
        "review/sheet_nodes.js",
        "review/key_choice.js",
        "review/key_table.js",
        "review/zoom.js",
        "review/frame.js",
        "review/number_field.js",
        "review/class_search.js",
        "review/keys.js",
        "review.js",
    ),
)


def show_review(data: Mapping[str, Any], *, key: str) -> int | None:
    """Draw the screen.

    Args:
        data: What it begins with. It keeps what it has where the same is asked for again.
        key: Widget key.

    Returns:
        The number of the neighbour that was clicked, or None.
    """
    result = _REVIEW(key=key, data=dict(data), on_opened_change=_nothing)
    # What comes from the browser is untrusted: anything but a number counts as no click.
    opened = getattr(result, "opened", None)
    return opened if isinstance(opened, int) else None


def _nothing() -> None:
    """Stand for a callback: its presence makes the trigger an attribute of the result."""
