"""The program's name and mark: in the frame of every page, and in the browser's tab."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

NAME = "TracIn Relabel"
_FOLDER = Path(__file__).resolve().parent
_MARK = str(_FOLDER / "mark.svg")
_INK = "#0b1018"  # of the words in wordmark.svg, which are read on a light ground


def draw_mark() -> None:
    """Draw name and mark above the names of the pages; where those are hidden, the mark alone."""
    words = (_FOLDER / "wordmark.svg").read_text(encoding="utf-8")
    if st.context.theme.type == "dark":
        words = words.replace(_INK, str(st.get_option("theme.dark.textColor") or _INK))
    st.logo(words, icon_image=_MARK)


def name_tab(*words: str | None) -> None:
    """Write into the browser's tab what is shown, the most special first."""
    parts = [*(one for one in words if one), NAME]
    st.set_page_config(
        page_title=" · ".join(parts),
        page_icon=_MARK,
        layout="wide",
        # The names at the left are short; the width is for what is looked at.
        initial_sidebar_state=220,
    )
