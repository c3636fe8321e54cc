"""What counts as a step of the browser's Back button."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from ui.components.assets import read_assets

_STEPS = st.components.v2.component(
    "tracin_history", html='<span hidden class="history"></span>', js=read_assets("history.js")
)


def limit_steps(steps: Mapping[str, str], *, key: str) -> None:
    """Make pages steps of Back, and within a page only what is named here.

    Streamlit adds a step whenever a page writes into its address; with this, what a page writes
    about itself takes the place of what stood there.

    Args:
        steps: Address of a page to the parameter whose change is a step too.
        key: Widget key.
    """
    _STEPS(key=key, data={"steps": dict(steps)})
