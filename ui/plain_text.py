"""Text from data, made safe to stand where Streamlit or plotly would read markup."""

from __future__ import annotations

import re

# Everything that opens a construct in Streamlit's markdown: emphasis, code, links, images,
# colours and icons (":red[...]", ":material/...:"), formulas, tables, headings, HTML.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&])")
_END_OF_EMBEDDING, _END_OF_ISOLATE = "\u202c", "\u2069"
# Unicode's changes of the writing direction, and what ends each.
_CLOSERS = {
    **dict.fromkeys("\u202a\u202b\u202d\u202e", _END_OF_EMBEDDING),
    **dict.fromkeys("\u2066\u2067\u2068", _END_OF_ISOLATE),
}
_DIRECTIONS = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_WHITESPACE = re.compile(r"\s+")


# Markdown makes links of bare addresses after it has taken the escapes away.
_ADDRESS = re.compile(r"(https?:|ftp:|mailto:|xmpp:|www|@)", re.IGNORECASE)
WORD_JOINER = "\u2060"  # has no width and allows no break


def escape_markdown(text: str) -> str:
    """Return text that a Streamlit label or caption shows letter by letter.

    An invisible word joiner inside an address keeps it from becoming a link.
    """
    line = contain_direction(_ADDRESS.sub(rf"\1{WORD_JOINER}", _WHITESPACE.sub(" ", text)))
    return _MARKDOWN.sub(r"\\\1", line)


def isolate(text: str) -> str:
    """Return text whose writing direction does not reach its surroundings."""
    return text if text.isascii() else f"\u2068{contain_direction(text)}\u2069"


def contain_direction(text: str) -> str:
    """Return text in which every change of the writing direction ends where it began.

    A name may turn round what follows it on the page, or close the isolation that we put it in;
    what it opens is closed at its end, and what it closes without having opened it is left out.
    """
    if text.isascii() or not _DIRECTIONS.search(text):
        return text
    opened: list[str] = []
    kept = []
    for character in text:
        closer = _CLOSERS.get(character)
        if closer:
            opened.append(closer)
        elif character in _CLOSERS.values():
            if character not in opened:
                continue
            # An isolation's end closes what was opened in it; the end of an embedding does not
            # reach out of an isolation.
            if character == _END_OF_ISOLATE:
                while opened[-1] != character:
                    opened.pop()
            elif opened[-1] != character:
                continue
            opened.pop()
        kept.append(character)
    return "".join(kept) + "".join(reversed(opened))


def escape_plotly(text: str) -> str:
    """Return text that plotly shows letter by letter; it reads a subset of HTML otherwise."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
