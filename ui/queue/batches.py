"""Answers to what the queue's screen asks: many decided at once, and taken back as one.

Whatever is sent is looked at as if anybody had written it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from relabel.db.decisions.batches import (
    MOST,
    NAMED,
    BatchItem,
    BatchResult,
    NewBatch,
    record_batch,
    summarize_refused,
    undo_batch,
)
from relabel.db.decisions.checks import check_mark
from relabel.db.decisions.kinds import RELABEL, find_kind, list_codes
from relabel.db.engine import reading_one_state
from relabel.db.examples import ExampleView, load_views
from relabel.db.groups import count_left, list_passing
from relabel.db.project_rules import Project
from relabel.db.projects import get_project
from relabel.db.queue import QueueFilter
from relabel.db.runs import Run, get_run
from relabel.db.schema import UNDECIDED
from relabel.db.team.reviewers import Identity
from relabel.errors import InvalidDecisionError, NotFoundError
from relabel.text import counted
from ui.galleries import small_example
from ui.identity import find_sender
from ui.labels import is_regression, name_label, status_tags
from ui.queue.filters import read_filter
from ui.session import get_engine

# Examples that are named one by one, and those whose cards are drawn again.
MOST_NAMED = 500
_LARGEST_NUMBER = 2**53  # what a browser counts exactly
Answer = dict[str, Any]


def answer_batch(body: Answer, visitor: Identity | None) -> Answer:
    """Record one decision about all examples that a screen names, or that pass its filter.

    Args:
        body: What was sent.
        visitor: Who has signed in; None where nobody has to.

    Raises:
        InvalidDecisionError: If it makes no sense. Nothing was recorded.
    """
    project, run, signal, filter = _read_query(body)
    action = _read_text(body, "action")
    if action not in list_codes("confirm", "correct", "exclude", "mark"):
        raise InvalidDecisionError(f"Found the action {action!r:.80}, which is none for many.")
    if action == RELABEL.code and is_regression(project):
        raise InvalidDecisionError("Numbers are corrected one at a time, in Review.")
    items = _read_items(body, run, signal, filter)
    who = find_sender(_read_text(body, "reviewer"), visitor)
    result = record_batch(
        get_engine(),
        project.id,
        NewBatch(
            token=_read_text(body, "token"),
            reviewer=who.name,
            action=action,
            items=items,
            run_id=run.id,
            identity_source=who.source,
            signal=signal,
        ),
    )
    message = _describe(project, action, _read_label(body, "newLabel"), result)
    return _answer(body, project, run, signal, filter, result, message)


def answer_undo(body: Answer, visitor: Identity | None) -> Answer:
    """Take back what was decided together.

    Args:
        body: What was sent.
        visitor: Who has signed in; None where nobody has to.

    Raises:
        NotFoundError: If nothing was.
    """
    project, run, signal, filter = _read_query(body)
    who = find_sender(_read_text(body, "reviewer"), visitor)
    result = undo_batch(
        get_engine(),
        project.id,
        _read_text(body, "undoes"),
        token=_read_text(body, "token"),
        reviewer=who.name,
        identity_source=who.source,
    )
    message = f"Taken back: {counted(len(result.recorded), 'decision')}."
    return _answer(body, project, run, signal, filter, result, message)


def describe_card(project: Project, view: ExampleView) -> Answer:
    """Return what of a card changes with a decision."""
    return {
        "id": view.id,
        "version": view.version,
        "decided": view.status not in UNDECIDED,
        "states": [asdict(tag) for tag in status_tags(project, view)],
    }


def _answer(
    body: Answer,
    project: Project,
    run: Run,
    signal: str,
    filter: QueueFilter,
    result: BatchResult,
    message: str,
) -> Answer:
    engine = get_engine()
    shown = _read_numbers(body, "shown")
    named = [one.example_id for one in result.refused[:NAMED]]
    with reading_one_state(engine) as connection:
        views = load_views(connection, [*shown, *named], run.id)
    left, total = count_left(engine, run.id, signal=signal, filter=filter)
    return {
        "token": result.token,
        "recorded": len(result.recorded),
        "message": " ".join(part for part in (message, summarize_refused(result)) if part),
        "refused": [one.example_id for one in result.refused[:MOST_NAMED]],
        # Those that the message speaks of.
        "examples": [
            small_example(views[one])
            for one in named
            if one in views and views[one].project_id == project.id
        ],
        "cards": [
            describe_card(project, views[one])
            for one in dict.fromkeys(shown)
            if one in views and views[one].project_id == project.id
        ],
        "left": left,
        "total": total,
    }


def _describe(project: Project, action: str, label: int | None, result: BatchResult) -> str:
    """Return in words what was recorded."""
    count, kept = len(result.recorded) - len(result.kept), len(result.kept)
    done = find_kind(action).state_title.lower()
    to = "" if label is None else f" to {name_label(project, label, None)}"
    parts = [f"{counted(count, 'example')} {done}{to}"] if count or not kept else []
    if kept:
        parts.append(f"{counted(kept, 'example')} kept, which had that label already")
    return f"Recorded: {', '.join(parts)}."


def _read_query(body: Answer) -> tuple[Project, Run, str, QueueFilter]:
    project = get_project(get_engine(), _read_text(body, "project"))
    check_mark(_read_text(body, "mark"), project.created_at, "")
    query = body.get("query")
    query = query if isinstance(query, dict) else {}
    run_id, signal, filter = query.get("run"), query.get("signal"), read_filter(query)
    run = get_run(get_engine(), run_id) if type(run_id) is int else None
    if run is None or run.project_id != project.id:
        raise NotFoundError("The run of this page is gone. Reload the page.")
    if filter is None or not isinstance(signal, str):
        raise InvalidDecisionError("The page asks for what this run does not have. Reload it.")
    return project, run, signal, filter


def _read_items(body: Answer, run: Run, signal: str, filter: QueueFilter) -> Sequence[BatchItem]:
    """Return what is decided about; of all that pass the filter, as the database has them now."""
    choose = _choose_label(body)
    if body.get("all"):
        found = list_passing(get_engine(), run.id, signal=signal, filter=filter, limit=MOST)
        return [
            BatchItem(
                example_id=one.example_id,
                version=one.version,
                new_label=choose(one.other_label),
                rank=one.rank,
                score=one.score,
            )
            for one in found
            if not body.get("suggested") or one.other_label is not None
        ]
    sent = body.get("items")
    if not isinstance(sent, list) or not all(isinstance(one, dict) for one in sent):
        raise InvalidDecisionError("Expected the examples as a list of objects.")
    if len(sent) > MOST_NAMED:
        raise InvalidDecisionError(f"Expected at most {MOST_NAMED} examples by name.")
    return [
        BatchItem(
            example_id=_read_number(one, "id"),
            version=_read_number(one, "version"),
            new_label=choose(_read_label(one, "newLabel")),
            rank=_read_number(one, "rank"),
            score=_read_score(one),
        )
        for one in sent
    ]


def _choose_label(body: Answer) -> Callable[[int | None], int | None]:
    """Return what gives each example its new label: its own suggestion, or the one for all."""
    if body.get("action") != RELABEL.code:
        return lambda own: None
    if body.get("suggested"):
        return lambda own: own
    label = _read_label(body, "newLabel")
    return lambda own: label


def _read_text(sent: Answer, name: str) -> str:
    value = sent.get(name, "")
    if not isinstance(value, str):
        raise InvalidDecisionError(f"Found {value!r:.80} for {name}. Expected a text.")
    return value


def _read_number(sent: Answer, name: str) -> int:
    value = sent.get(name)
    if type(value) is not int or abs(value) > _LARGEST_NUMBER:
        raise InvalidDecisionError(f"Found {value!r:.80} for {name}. Expected a whole number.")
    return value


def _read_label(sent: Answer, name: str) -> int | None:
    return None if sent.get(name) is None else _read_number(sent, name)


def _read_score(sent: Answer) -> float | None:
    value = sent.get("score")
    return float(value) if isinstance(value, int | float) else None


def _read_numbers(sent: Answer, name: str) -> list[int]:
    values = sent.get(name) or []
    if not isinstance(values, list) or len(values) > MOST_NAMED:
        raise InvalidDecisionError(f"Expected at most {MOST_NAMED} numbers for {name}.")
    return [_read_number({name: one}, name) for one in values]
