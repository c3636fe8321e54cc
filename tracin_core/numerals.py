"""Numbers in a person's own unit as a screen or a terminal shows them."""

from __future__ import annotations

import math

# Enough to tell two amounts of money or two temperatures apart; what is stored is not rounded.
DIGITS = 6


def value_text(value: float | None) -> str:
    """Return a number with six significant digits, in plain notation where it can be read."""
    if value is None:
        return "–"
    size = abs(value)
    if value == 0 or 1e-3 <= size < 1e9:
        decimals = max(0, DIGITS - 1 - math.floor(math.log10(size))) if value else 0
        text = f"{value:,.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{DIGITS}g}"


def residual_text(given: float | None, predicted: float | None) -> str:
    """Return how far a given number lies above (+) or below (−) the prediction."""
    if given is None or predicted is None:
        return "–"
    residual = given - predicted
    return f"{'−' if residual < 0 else '+'}{value_text(abs(residual))}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: "1 example", "2,000 examples", "3 classes".

    Args:
        number: How many.
        one: The noun for one.
        many: For more or none, where it is not formed with "s".
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def describe_bytes(number: int) -> str:
    """Return a size as people say it: "45 MB"."""
    size = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            break
        size /= 1000
    return f"{size:.1f} {unit}" if unit == "GB" and size < 100 else f"{size:.0f} {unit}"


def describe_seconds(seconds: float) -> str:
    """Return a duration as people say it: "4.2 s", "45 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
