"""A name that survives a reload: kept in a cookie of this site."""

from __future__ import annotations

from urllib.parse import unquote

import streamlit as st

from ui.components.assets import read_assets

_REMEMBER = st.components.v2.component(
    "tracin_remember", html='<span hidden class="memory"></span>', js=read_assets("remember.js")
)


def remember(name: str, value: str, *, key: str) -> None:
    """Write a cookie in the browser.

    Args:
        name: Name of the cookie.
        value: Its text.
        key: Widget key.
    """
    _REMEMBER(key=key, data={"name": name, "value": value})


def recall(name: str) -> str | None:
    """Return a cookie's text as it was when the session began, or None."""
    cookies = st.context.cookies.to_dict()
    return unquote(cookies[name]) if cookies.get(name) else None
