"""Text from data, made safe to stand where Streamlit or plotly would read markup."""

from __future__ import annotations

import re

# Everything that opens a construct in Streamlit's markdown: emphasis, code, links, images,
# colours and icons (":red[...]", ":material/...:"), formulas, tables, headings, HTML.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&])")
_WHITESPACE = re.compile(r"\s+")


# Markdown makes links of bare addresses after it has taken the escapes away.
_ADDRESS = re.compile(r"(https?:|ftp:|mailto:|xmpp:|www|@)", re.IGNORECASE)
WORD_JOINER = "\u2060"  # has no width and allows no break


def escape_markdown(text: str) -> str:
    """Return text that a Streamlit label or caption shows letter by letter.

    An invisible word joiner inside an address keeps it from becoming a link.
    """
    line = _ADDRESS.sub(rf"\1{WORD_JOINER}", _WHITESPACE.sub(" ", text))
    return _MARKDOWN.sub(r"\\\1", line)


def isolate(text: str) -> str:
    """Return text whose writing direction does not reach its surroundings."""
    return text if text.isascii() else f"\u2068{text}\u2069"


def escape_plotly(text: str) -> str:
    """Return text that plotly shows letter by letter; it reads a subset of HTML otherwise."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def shorten(text: str, length: int) -> str:
    """Return one line of at most ``length`` characters, with an ellipsis where it was cut."""
    line = _WHITESPACE.sub(" ", text).strip()
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
