"""Tables on stdout, for a terminal or a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

WIDTH_IN_FILES = 140  # columns: a file has no width of its own, and must cut nothing off


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal, or wide enough for everything in a file."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDTH_IN_FILES).print(table)
