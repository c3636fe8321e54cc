"""Several names in one line, as a person writes them: separated by commas."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import StringIO


def split_names(text: str) -> tuple[str, ...]:
    """Split at commas; a name with a comma in it stands in double quotes, as in CSV."""
    return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))


def join_names(names: Iterable[str]) -> str:
    """Write names in one line so that ``split_names`` finds them again."""
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()
