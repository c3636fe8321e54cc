"""The words of the screen, one place for all pages: names, numbers, times, and data as plain text.

Text from data is made safe to stand where Streamlit or plotly would read markup.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import count

import streamlit as st

from relabel.db.decisions.kinds import DECISION_KINDS, PENDING
from relabel.text import format_seconds, shorten

STATUS_WORDS = {PENDING: "To review"} | {
    kind.state: kind.state_title for kind in DECISION_KINDS if kind.state
}
ACTION_WORDS = {kind.code: kind.title for kind in DECISION_KINDS}
KIND_WORDS = {"image": "Images", "text": "Texts", "table": "Table"}
SPLIT_WORDS = {"train": "Train", "test": "Test"}
WORD_JOINER = "\u2060"  # has no width and allows no break
_NAME_LENGTH = 60  # characters of a class name
_SLUG_LENGTH = 40  # characters of a suggested name
_ENDINGS = re.compile(r"(\.(csv|tsv|txt|parquet|jsonl|ndjson|json|npz|zip|tar|gz|arrow))+$")
# Characters that some keyboards and spreadsheets put between digits, or for a minus.
_REPLACED = str.maketrans({"−": "-", "\u00a0": "", "\u202f": "", " ": "", "_": "", "'": ""})
# Everything that opens a construct in Streamlit's markdown: emphasis, code, links, images,
# colours and icons (":red[...]", ":material/...:"), formulas, tables, headings, HTML.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&])")
# Markdown makes links of bare addresses after it has taken the escapes away.
_ADDRESS = re.compile(r"(https?:|ftp:|mailto:|xmpp:|www|@)", re.IGNORECASE)
# And then, too, it looks for icons (":material/home:"), pictures of feelings (":dog:"), and signs
# that it writes otherwise when they stand alone, such as "->" and "--".
_ICON = re.compile(r":(?=[\w+-][\w+/-]*:)")
_SIGN = re.compile(r"(?<!\S)(<-|-|<|>|~)(?=(>|-|=)(?!\S))")
_WHITESPACE = re.compile(r"\s+")
_END_OF_EMBEDDING, _END_OF_ISOLATE = "\u202c", "\u2069"
# Unicode's changes of the writing direction, and what ends each.
_CLOSERS = {
    **dict.fromkeys("\u202a\u202b\u202d\u202e", _END_OF_EMBEDDING),
    **dict.fromkeys("\u2066\u2067\u2068", _END_OF_ISOLATE),
}
_DIRECTIONS = re.compile(r"[\u202a-\u202e\u2066-\u2069]")


def class_name(classes: Sequence[str], label: int | None) -> str:
    """Return a class's name as a screen has room for it, or a dash where there is no label."""
    return "–" if label is None else isolate(shorten(classes[label], _NAME_LENGTH))


def percent(fraction: float | None) -> str:
    """Return a probability as a whole percentage, never rounded to an untrue 0% or 100%."""
    if fraction is None:
        return "–"
    if 0 < fraction < 0.005:
        return "<1%"
    if 0.995 <= fraction < 1:
        return ">99%"
    return f"{fraction:.0%}"


def score_text(value: float) -> str:
    """Return a score with three significant digits, in plain notation where it can be read."""
    size = abs(value)
    if 1000 <= size < 1e7:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value == 0 or 1e-3 <= size < 1000 else f"{value:.2e}"


def time_left(seconds: float | None) -> str:
    """Return how long something still takes, roughly, or nothing where it is not known."""
    if seconds is None or seconds < 0:
        return ""
    if seconds < 2:
        return "almost done"
    # Whole seconds: a decimal that changes every second only makes the line restless.
    left = f"{seconds:.0f} s" if seconds < 90 else format_seconds(seconds)
    return f"about {left} left"


def moment_text(moment: datetime) -> str:
    """Return a point in time as the clock of this machine shows it."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


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


def suggest_slug(name: str, taken: Collection[str] = ()) -> str:
    """Return a free name for a project, made of a file's or folder's name."""
    stem = _ENDINGS.sub("", name.lower())
    slug = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:_SLUG_LENGTH].strip("-") or "my-data"
    numbered = (f"{slug}-{number}" for number in count(2))
    return slug if slug not in taken else next(one for one in numbered if one not in taken)


def read_number(typed: str) -> float | None:
    """Return the finite number that a person typed, or None where it is none.

    A single comma followed by other than three digits is a decimal comma; every other comma
    separates thousands.
    """
    text = typed.strip().translate(_REPLACED)
    whole, comma, rest = text.partition(",")
    if comma and "," not in rest and "." not in text and len(rest) != 3:
        text = f"{whole}.{rest}"
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def escape_markdown(text: str) -> str:
    """Return text that a Streamlit label or caption shows letter by letter.

    An invisible word joiner inside an address keeps it from becoming a link, and a name between
    colons from becoming an icon.
    """
    line = _WHITESPACE.sub(" ", text)
    for taken in (_ADDRESS, _ICON, _SIGN):
        line = taken.sub(rf"\g<0>{WORD_JOINER}", line)
    return _MARKDOWN.sub(r"\\\1", contain_direction(line))


def escape_plotly(text: str) -> str:
    """Return text that plotly shows letter by letter; it reads a subset of HTML otherwise."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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
