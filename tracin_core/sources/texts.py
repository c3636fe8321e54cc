"""The text of an example: one cell of a table, or several joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracin_core.sources.values import RefusedError, check_text, is_missing

MAX_TEXT = 100_000  # characters: about fifty pages, more than anybody reviews on a screen
# A blank line: on a page it sets a title apart from what follows, and no word of a text model
# goes across it. Keys are made of the joined text, so it must stay what it is.
SEPARATOR = "\n\n"


def read_text(values: Sequence[Any], columns: Sequence[str]) -> str:
    """Return the text in one cell, or those in several with a blank line between.

    Args:
        values: The cells; of several, empty ones are passed over.
        columns: Their names, for the messages.

    Raises:
        RefusedError: If all are empty, or the text is far too long, or cannot be stored.
    """
    texts = [
        _read_cell(value, column)
        for value, column in zip(values, columns, strict=True)
        if not is_missing(value)
    ]
    if not texts:
        names = ", ".join(map(repr, columns))
        raise RefusedError(
            "empty text",
            f"The text in column {names} is empty. Fill it in."
            if len(columns) == 1
            else f"The texts in columns {names} are all empty. Fill one in.",
        )
    text = SEPARATOR.join(texts)
    check_length(text)
    return text


def check_length(text: str) -> None:
    """See that a text is not far too long.

    Raises:
        RefusedError: If it is.
    """
    if len(text) > MAX_TEXT:
        raise RefusedError(
            "text too long",
            f"The text has {len(text):,} characters, expected at most {MAX_TEXT:,}. Cut it, or "
            "split it into several examples.",
        )


def _read_cell(value: Any, column: str) -> str:
    if isinstance(value, list | dict | bytes):
        raise RefusedError(
            "no text", f"The column {column!r} holds {type(value).__name__}, expected text."
        )
    text = str(value)
    check_text(text, f"The text in column {column!r}")
    return text
