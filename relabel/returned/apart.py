"""Read a file of decisions in a process of its own, as a server does that everybody shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from relabel.importers.records import Problem
from relabel.returned.read import (
    ReturnedDecision,
    choose_action,
    read_decisions,
    read_moment,
)
from relabel.sandbox import run_apart
from tracin_core.errors import InputError

# Decisions of one file: what a server holds of them, and shows before they are recorded.
MOST = 500_000
# Stands for each row without a decision, of which nothing but the number is wanted.
_UNDECIDED = ReturnedDecision(where="", key="")


def read_decisions_apart(path: Path) -> Iterator[ReturnedDecision | Problem]:
    """Yield what `read_decisions` does, those without a decision last and empty.

    Raises:
        InputError: If the file cannot be read, holds no decisions or too many, or needs too much
            memory.
    """
    answer = run_apart(f"{__name__}:read_in_process", {"path": str(path)}, what=str(path))
    told = (_to_row(one) for one in answer["rows"])
    return chain(told, repeat(_UNDECIDED, answer["undecided"]))


def _to_row(sent: dict[str, Any]) -> ReturnedDecision | Problem:
    if "message" in sent:
        return Problem(**sent)
    moment = None if sent["stated_at"] is None else read_moment(sent["stated_at"])
    return ReturnedDecision(**{**sent, "stated_at": moment})


def read_in_process(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to ``read_decisions_apart``, made in this process."""
    rows: list[dict[str, Any]] = []
    undecided = 0
    for row in read_decisions(Path(request["path"])):
        if isinstance(row, ReturnedDecision) and not choose_action(row):
            undecided += 1
            continue
        if len(rows) == MOST:
            raise InputError(
                f"{request['path']} holds more than {MOST:,} decisions. Expected at most so many "
                "at once here: split the file, or bring it by `decisions` in the terminal."
            )
        sent = asdict(row)
        if isinstance(row, ReturnedDecision) and row.stated_at is not None:
            sent["stated_at"] = row.stated_at.isoformat()
        rows.append(sent)
    return {"rows": rows, "undecided": undecided}
