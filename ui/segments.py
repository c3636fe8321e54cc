"""The words of a row of choices, readable in both themes."""

from __future__ import annotations

import streamlit as st

from ui.plain_text import escape_markdown


def segment_words(words: str) -> str:
    """Return what stands on one segment of a segmented control.

    Streamlit writes the chosen one in the primary colour on a tint of the same: 3.6:1 in the dark
    theme. No primary colour reaches 4.5:1 there, because it also has to carry the white words of
    buttons. So in the dark all segments have the colour of text, and the chosen one is told by
    its frame and its ground.
    """
    colour = st.get_option("theme.dark.textColor")
    if st.context.theme.type != "dark" or not colour:
        return words
    return f':color[{escape_markdown(words)}]{{foreground="{colour}"}}'
