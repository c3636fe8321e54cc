"""What the review has not recorded yet, said on every page."""

from __future__ import annotations

import streamlit as st

from ui.components.assets import read_assets

_UNSENT = st.components.v2.component(
    "tracin_unsent",
    html='<span hidden class="unsent"></span>',
    js=read_assets("sender.js", "outbox.js", "unsent.js"),
)


def say_what_is_unsent(*, key: str) -> None:
    """Let the browser go on sending what a review has left, and say what still waits.

    Args:
        key: Widget key.
    """
    _UNSENT(key=key, data={})
