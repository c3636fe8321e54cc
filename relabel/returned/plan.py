"""What becomes of the decisions of a file: planned and shown first, then recorded.

A decision is recorded once, however often its file comes: its token is made of what it says.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from relabel.db.decisions.checks import (
    check_action,
    check_correction,
    check_new_label,
    check_new_value,
    check_note,
)
from relabel.db.decisions.kinds import KEEP, RELABEL, list_codes
from relabel.db.decisions.recording import NewDecision, record_each
from relabel.db.engine import reading
from relabel.db.project_rules import Project
from relabel.db.registration import PAUSE
from relabel.db.schema import DecisionRow, ExampleRow, effective, version_of
from relabel.db.team.reviewers import Identity, check_lead, clean_name
from relabel.errors import InvalidDecisionError, StaleDecisionError
from relabel.importers.records import Problem
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.returned.read import ReturnedDecision, choose_action
from relabel.text import shorten
from tracin_core.errors import TracInError

# What can become of a row, in the order in which it is told.
NEW = "to be recorded"
RECORDED = "recorded"
KNOWN = "recorded before, from such a file"
ALIKE = "decided alike here already"
UNDECIDED_ROW = "without a decision"
STALE = "decided otherwise here meanwhile"
NOT_FOUND = "of an example that is not here"
UNKNOWN_CLASS = "of a class that the project does not have"
TWICE = "of an example that came before in the file"
UNUSABLE = "that cannot be recorded"
OUTCOMES = (
    *(NEW, RECORDED, KNOWN, ALIKE, UNDECIDED_ROW, STALE, NOT_FOUND, UNKNOWN_CLASS, TWICE),
    UNUSABLE,
)
# Of these a person is shown the first ones.
TOLD = (STALE, NOT_FOUND, UNKNOWN_CLASS, TWICE, UNUSABLE)
SHOWN = 5
_CHUNK = 500  # rows that are looked up at once
# Decisions a transaction, which keeps whoever decides meanwhile waiting for two tenths of a second.
_AT_ONCE = 100
RECORDING = "recording the decisions"
BRINGING = "bring decisions, which a file may ascribe to anybody"


@dataclass
class ReturnReport:
    """What becomes of the rows of a file.

    Attributes:
        counts: Rows by what becomes of them.
        told: The first few of those that a person should look at, by what becomes of them.
    """

    counts: Counter[str] = field(default_factory=Counter)
    told: dict[str, list[str]] = field(default_factory=dict)

    def add(self, outcome: str, words: str = "") -> None:
        """Count a row, and keep what is to be said of it."""
        self.counts[outcome] += 1
        kept = self.told.setdefault(outcome, [])
        if outcome in TOLD and words and len(kept) < SHOWN:
            kept.append(words)

    def describe(self) -> list[str]:
        """Return a line for each outcome that there is, with its first rows below it."""
        lines = []
        for outcome in OUTCOMES:
            if number := self.counts[outcome]:
                lines.append(f"{number:,} {outcome}")
                lines += [f"  {words}" for words in self.told.get(outcome, ())]
        return lines or ["0 decisions in the file"]


@dataclass
class ReturnPlan:
    """The decisions that would be recorded, and what becomes of the other rows.

    Attributes:
        new: Those that would be recorded, in the order of the file.
        report: Of all rows.
    """

    new: list[NewDecision] = field(default_factory=list)
    report: ReturnReport = field(default_factory=ReturnReport)


def plan_decisions(
    engine: Engine,
    project: Project,
    rows: Iterable[ReturnedDecision | Problem],
    *,
    reviewer: str,
    over: bool = False,
) -> ReturnPlan:
    """Decide what becomes of the rows of a file, and write nothing.

    Args:
        engine: The database.
        project: Whose examples they are about.
        rows: As ``read_decisions`` yields them.
        reviewer: The name for rows that state none.
        over: Whether decisions are laid on top of what was decided otherwise here meanwhile.
    """
    plan = ReturnPlan()
    seen: set[str] = set()
    classes = {name: number for number, name in enumerate(project.classes)}
    sound = _choose_decisions(rows, plan.report)
    while chunk := list(islice(sound, _CHUNK)):
        with reading(engine) as connection:
            examples = _find_examples(connection, project.id, chunk)
            known = _find_known(connection, [_token(project, one) for one in chunk])
        for row in chunk:
            try:
                outcome, words, new = _judge(
                    row, project, classes, examples, known, reviewer=reviewer, over=over
                )
            except InvalidDecisionError as error:
                outcome, words, new = UNUSABLE, str(error), None
            if new is not None and row.key in seen:
                outcome, new = TWICE, None
            seen.add(row.key)
            plan.report.add(outcome, f"{row.where}, {shorten(row.key, 60)!r}: {words}".rstrip(": "))
            if new is not None:
                plan.new.append(new)
    return plan


def _choose_decisions(
    rows: Iterable[ReturnedDecision | Problem], report: ReturnReport
) -> Iterator[ReturnedDecision]:
    """Yield the rows that state a decision, and count the others."""
    for row in rows:
        if isinstance(row, Problem):
            report.add(UNUSABLE, f"{row.where}: {row.message}")
        elif not choose_action(row):  # most rows of an export; they need not be looked up
            report.add(UNDECIDED_ROW)
        else:
            yield row


def _token(project: Project, row: ReturnedDecision) -> str:
    return row.make_token(f"{project.id} {project.created_at.isoformat()}")


def _unprotected(text: str) -> str:
    """Return a text without the apostrophe that an export puts before a formula."""
    return text.removeprefix("'")


def _find_examples(
    connection: Connection, project_id: int, rows: Sequence[ReturnedDecision]
) -> Mapping[str, Row[*tuple[Any, ...]]]:
    keys = {row.key for row in rows} | {_unprotected(row.key) for row in rows if row.is_protected}
    query = (
        select(
            ExampleRow.key,
            ExampleRow.id,
            ExampleRow.given_label,
            ExampleRow.given_value,
            version_of(ExampleRow.id).label("version"),
            effective.c.action,
            effective.c.new_label,
            effective.c.new_value,
        )
        .join(effective, effective.c.example_id == ExampleRow.id, isouter=True)
        .where(ExampleRow.project_id == project_id, ExampleRow.key.in_(sorted(keys)))
    )
    return {row.key: row for row in connection.execute(query)}


def _find_known(connection: Connection, tokens: Sequence[str]) -> set[str]:
    query = select(DecisionRow.token).where(DecisionRow.token.in_(tokens))
    return {str(token) for token in connection.scalars(query)}


def _judge(
    row: ReturnedDecision,
    project: Project,
    classes: Mapping[str, int],
    examples: Mapping[str, Row[*tuple[Any, ...]]],
    known: set[str],
    *,
    reviewer: str,
    over: bool,
) -> tuple[str, str, NewDecision | None]:
    """Return what becomes of a row, what is to be said of it, and the decision if it is new."""
    token = _token(project, row)
    if token in known:
        return KNOWN, "", None
    example = examples.get(row.key)
    if example is None and row.is_protected:
        example = examples.get(_unprotected(row.key))
    if example is None:
        return NOT_FOUND, "", None
    action = choose_action(row)
    check_action(action)
    label, value = None, None
    if action in list_codes("correct", "confirm") and row.answer is not None:
        if project.task == "regression":
            value = row.answer if isinstance(row.answer, float) else None
            action = KEEP.code if value == example.given_value else RELABEL.code
        else:
            label = _find_class(classes, row)
            if label is None:
                return UNKNOWN_CLASS, f"{shorten(str(row.answer), 60)!r}", None
            action = KEEP.code if label == example.given_label else RELABEL.code
    if action not in list_codes("correct"):
        label = value = None
    here = (example.action, example.new_label, example.new_value)
    if here == (action, label, value):
        return ALIKE, "", None
    if example.version not in (0, row.version) and not over:
        return STALE, f"here {example.action or 'undone'}, in the file {action}", None
    name = _unprotected(row.reviewer) if row.is_protected else row.reviewer
    new = NewDecision(
        example_id=example.id,
        expected_version=example.version,
        reviewer=clean_name(name.strip() or reviewer),
        action=action,
        new_label=label,
        new_value=value,
        note=_strip_note(row),
        source="import",
        token=token,
        stated_at=row.stated_at,
    )
    check_note(new.note)
    check_correction(action, label, value, regression=project.task == "regression")
    check_new_label(label, example.given_label, project.classes)
    check_new_value(value, example.given_value)
    return NEW, "", new


def _find_class(classes: Mapping[str, int], row: ReturnedDecision) -> int | None:
    name = str(row.answer)
    found = classes.get(name)
    return classes.get(_unprotected(name)) if found is None and row.is_protected else found


def _strip_note(row: ReturnedDecision) -> str:
    """Return the note; in a CSV an apostrophe before a formula was put there by the export."""
    is_safe = row.note[1:2] in ("=", "+", "-", "@", "\t", "\r") and row.note.startswith("'")
    return row.note[1:] if row.is_protected and is_safe else row.note


def record_decisions(
    engine: Engine,
    plan: ReturnPlan,
    *,
    on_progress: OnProgress = ignore_progress,
    asked_by: Identity | None = None,
) -> ReturnReport:
    """Record what was planned, a hundred at a time; what is recorded stays.

    Args:
        engine: The database.
        plan: What is to be recorded.
        on_progress: Told how far it is.
        asked_by: Who brings the file, which may name anybody as the one who decided; None for
            whoever has the command line, and with it the database.

    Returns:
        What became of all rows of the file.

    Raises:
        NotAllowedError: If there is a lead, and it is somebody else who brings the file.
        DatabaseError: If the database cannot be written to. The same file goes on from there.
    """
    if asked_by is not None:
        check_lead(engine, asked_by, BRINGING)
    report = plan.report
    report.counts[NEW] = 0
    for start in range(0, len(plan.new), _AT_ONCE):
        if start:
            time.sleep(PAUSE)  # in which a waiting decision of somebody else gets in
        chunk = plan.new[start : start + _AT_ONCE]
        for made in record_each(engine, chunk):
            if isinstance(made, StaleDecisionError):
                report.add(STALE, str(made))
            elif isinstance(made, TracInError):
                report.add(UNUSABLE, str(made))
            else:
                report.add(RECORDED)
        on_progress(Progress(RECORDING, start + len(chunk), len(plan.new)))
    return report
