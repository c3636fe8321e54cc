"""Tables on stdout, for a terminal or a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

WIDTH_IN_FILES = 140  # columns: a file has no width of its own, and must cut nothing off


def printable(text: str) -> str:
    """Return text of several lines in which nothing moves the cursor or turns the direction.

    What an error names comes from data: a class called by an escape sequence would recolour the
    terminal, and one with a change of the writing direction would turn the line round.
    """
    return "".join(
        character if character.isprintable() or character in "\n\t" else ascii(character)[1:-1]
        for character in text
    )


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal, or wide enough for everything in a file."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDTH_IN_FILES).print(table)
