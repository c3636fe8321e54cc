"""Pairs of texts without a gold label: what published sets write where annotators did not agree.

SNLI (Bowman et al. 2015, arXiv:1508.05326, Sec. 2.2) gives ``-`` to a pair for which no label had
three of five votes, and advises to leave these out; MultiNLI does the same. The hub's copies, whose
labels are numbers, write ``-1``, as GLUE does for tests whose labels are held back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from shlex import quote
from typing import Any

from relabel.importers.columns.labels import ReadLabel, sort_names
from relabel.importers.columns.values import RefusedError, read_name, show
from relabel.importers.options import join_names

NO_GOLD_LABEL = "no gold label"
# So many numbered classes from 0 on: of fewer, -1 may be the lower end of a scale (-1, 0, 1).
_NUMBERED = 3


def find_gold_marks(labels: Collection[str], declared: Sequence[str] | None) -> frozenset[str]:
    """Return the labels by which a set of pairs says that there is no gold label.

    Args:
        labels: Those in the first rows.
        declared: Names that the file itself gives to its numbers; None where it gives none.
    """
    others = {label for label in labels if label not in ("", "-", "-1")}
    if declared is not None:
        return frozenset({"-", "-1"})
    if len(others) < 2 or "+" in others:  # minus is a class beside plus, or the second of two
        return frozenset()
    counts_up = len(others) >= _NUMBERED and others == {str(n) for n in range(len(others))}
    return frozenset({"-", "-1"} if counts_up else {"-"})


def leave_out_unagreed(
    read: ReadLabel, marks: Collection[str], labels: Collection[str], *, column: str
) -> ReadLabel:
    """Return a function that reads a label as ``read`` does, and refuses one of the marks.

    Args:
        read: Names the class of a cell.
        marks: Of ``find_gold_marks``.
        labels: Those in the first rows, to be named where a mark is to be a class.
        column: For the message.
    """
    classes = sort_names({label for label in labels if label and label not in marks})

    def read_agreed(value: Any) -> str:
        label = read_name(value) if isinstance(value, str | int | float) else ""
        if label not in marks:
            return read(value)
        keep = quote(join_names([*classes, label]))
        raise RefusedError(
            NO_GOLD_LABEL,
            f"Its label in column {column!r} is {show(label)}, by which sets of pairs say that "
            "their annotators did not agree on one. Such rows are left out. If it is a class, name "
            f"all of them: --classes {keep if len(keep) < 200 else f'..., {label}'}",
        )

    return read_agreed
