"""Text for people: numbers and sizes in words, untrusted text made safe; and what may be stored.

``format_number``, ``counted`` and their neighbours format numbers alike on pages and in terminals.
``printable`` and ``excerpt`` make text out of data harmless for a terminal, and
``find_text_fault`` is the one test of what files, both databases and JSON can hold. The literal
types (``Task``, ``Kind``, ``Split``) and the bounds of numbers that people enter are here because
every part needs them.
"""

from __future__ import annotations

import math
import re
from typing import Literal

# Enough to tell two amounts of money or two temperatures apart; what is stored is not rounded.
DIGITS = 6
Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
# What an example is.
Kind = Literal["image", "text", "table"]
KINDS: tuple[Kind, ...] = ("image", "text", "table")
# What is predicted of an example: one of some classes, or a number.
Task = Literal["classification", "regression"]
TASKS: tuple[Task, ...] = ("classification", "regression")
# Gradients of all layers, or of the last one.
Layers = Literal["all", "last"]
LAYERS: tuple[Layers, ...] = ("all", "last")
# What a scoring computes: the last layer's alone takes about a forward pass.
LayerChoice = Literal["both", "last"]
LAYERS_OF: dict[LayerChoice, tuple[Layers, ...]] = {"both": LAYERS, "last": ("last",)}
# What torch, NumPy and a database take as a seed, all three.
LARGEST_SEED = 2**63 - 1
# Of a step size: what single precision holds.
LARGEST_RATE = 3e38
# What a row's number is in either database.
LARGEST_NUMBER = 2**31 - 1
_WHITESPACE = re.compile(r"\s+")
# Half a surrogate pair, which has no UTF-8; it also stands for bytes that fit no encoding.
BROKEN: Literal["broken"] = "broken"
# A NUL, which PostgreSQL refuses and at which C ends a text.
ZERO: Literal["zero"] = "zero"
TextFault = Literal["broken", "zero"]


def format_number(value: float | None) -> str:
    """Return a number with six significant digits, in plain notation where it can be read."""
    if value is None:
        return "–"
    size = abs(value)
    if value == 0 or 1e-3 <= size < 1e9:
        decimals = max(0, DIGITS - 1 - math.floor(math.log10(size))) if value else 0
        text = f"{value:,.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{DIGITS}g}"


def format_residual(given: float | None, predicted: float | None) -> str:
    """Return how far a given number lies above (+) or below (−) the prediction."""
    if given is None or predicted is None:
        return "–"
    residual = given - predicted
    return f"{'−' if residual < 0 else '+'}{format_number(abs(residual))}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: "1 example", "2,000 examples", "3 classes".

    Args:
        number: How many.
        one: The noun for one.
        many: For more or none, where it is not formed with "s".
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def format_bytes(number: int) -> str:
    """Return a size as people say it: "45 MB"."""
    size = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            break
        size /= 1000
    return f"{size:.1f} {unit}" if unit == "GB" and size < 100 else f"{size:.0f} {unit}"


def format_seconds(seconds: float) -> str:
    """Return a duration as people say it: "4.2 s", "45 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


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


def find_text_fault(text: str) -> TextFault | None:
    """Return why a text cannot be stored, or None for one that can.

    Every text of an import passes here, so no character is looked at in Python.
    """
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return BROKEN
    return ZERO if "\x00" in text else None
