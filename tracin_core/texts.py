"""Texts from data as a terminal may show them: short, on one line, steering nothing."""

from __future__ import annotations

import re

_WHITESPACE = re.compile(r"\s+")


def printable(text: str) -> str:
    """Return text of several lines in which nothing moves the cursor or turns the direction.

    What an error names comes from data: a class called by an escape sequence would recolour the
    terminal, and one with a change of the writing direction would turn the line round.
    """
    return "".join(
        character if character.isprintable() or character in "\n\t" else ascii(character)[1:-1]
        for character in text
    )


def excerpt(text: str, length: int = 60) -> str:
    """Return the beginning of a text on one line, safe to print.

    A text is data: escape sequences in it must not move the cursor or recolour the terminal.
    """
    line = " ".join(text[: 4 * length].split())
    shown = "".join(character if character.isprintable() else "?" for character in line)
    return shorten(shown, length, "...")


def shorten(text: str, length: int, ellipsis: str = "…") -> str:
    """Return one line of at most ``length`` characters, with an ellipsis where it was cut."""
    line = _WHITESPACE.sub(" ", text).strip()
    return line if len(line) <= length else line[: length - len(ellipsis)].rstrip() + ellipsis
