"""The key that moves the cursor into the note, and the keys that leave it."""

from __future__ import annotations

import streamlit as st

from ui.components.assets import read_asset

_KEYS = st.components.v2.component(
    "tracin_keys", html='<span hidden class="keys"></span>', js=read_asset("keys.js")
)


def focus_field_on_key(field_label: str, *, key: str, shortcut: str) -> None:
    """Let one key put the cursor into a text field, and Enter or Escape take it out again.

    Args:
        field_label: Label of the Streamlit text field.
        key: Widget key.
        shortcut: The key, as the browser names it.
    """
    _KEYS(key=key, data={"fieldLabel": field_label, "key": shortcut})
