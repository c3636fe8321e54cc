"""A preview of an import as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tracin_core.commands.queue import EXCERPT_LENGTH, excerpt
from tracin_core.commands.tables import print_table

if TYPE_CHECKING:
    from tracin_core.sources import Preview
    from tracin_core.sources.plan_data import Plan
    from tracin_core.sources.records import PreviewRow

_SHOWN_CLASSES = 20
_SHOWN_PROBLEMS = 20
_NOTE_LENGTH = 400  # characters
_WHOLE = 10_000  # characters: a note says everything, such as every spelling of every class


def print_preview(preview: Preview, plan: Plan, project: str) -> None:
    """Print what was understood, the first examples, and every kind of problem."""
    _print_facts(preview, plan, project)
    if preview.columns:
        rows = ((c.name, c.role, c.kind, " | ".join(c.examples)) for c in preview.columns)
        _print("Columns", ("column", "is", "holds", "for example"), rows)
    if preview.rows:
        _print_rows(preview)
    if preview.problem_counts:
        _print_problems(preview)
    for note in preview.notes:
        print(f"- {excerpt(note, _WHOLE)}")


def _print_facts(preview: Preview, plan: Plan, project: str) -> None:
    target = f": {preview.target}" if preview.target else ""
    facts = [
        ("understood as", f"{preview.format}, {preview.kind}, {preview.task}{target}"),
        ("train / test", f"{preview.counts['train']:,} / {preview.counts['test']:,}"),
        ("left out", f"{preview.num_refused:,} with problems, {preview.duplicates:,} repeated"),
    ]
    if preview.class_counts:
        facts.insert(1, ("classes", _list_classes(preview)))
    if plan.num_known:
        facts.insert(1, ("there already", f"{plan.num_known:,}"))
    if plan.classes_added:
        facts.insert(2, ("new classes", ", ".join(plan.classes_added)))
    _print(f"Import into {project}", ("", ""), facts)


def _list_classes(preview: Preview) -> str:
    counts = preview.class_counts
    shown = [f"{name} ({counts[name]:,})" for name in list(counts)[:_SHOWN_CLASSES]]
    more = len(counts) - len(shown)
    return f"{len(counts)}: " + ", ".join(shown) + (f" and {more:,} more" if more else "")


def _print_rows(preview: Preview) -> None:
    answer = "number" if preview.task == "regression" else "label"
    rows = ((row.where, row.split, row.answer, _describe(row)) for row in preview.rows)
    _print("Examples", ("place", "split", answer, preview.kind), rows)


def _describe(row: PreviewRow) -> str:
    if row.text is not None:
        return row.text
    if row.fields is not None:
        return ", ".join(f"{name}={value}" for name, value in row.fields.items())
    return "picture"


def _print_problems(preview: Preview) -> None:
    from tracin_core.sources.problems import choose_problems

    rows = ((what, f"{number:,}") for what, number in preview.problem_counts.items())
    _print("Problems by kind", ("what", "number"), rows)
    shown = choose_problems(preview.problems, _SHOWN_PROBLEMS)
    _print(
        f"The first {len(shown)} problems" if len(shown) > 1 else "The problem",
        ("place", "what is wrong, and what can be done"),
        ((problem.where, problem.message) for problem in shown),
        length=_NOTE_LENGTH,
    )


def _print(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    length: int = 4 * EXCERPT_LENGTH,
) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title), title_justify="left", show_header=any(headings), show_lines=False
    )
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(Text(excerpt(cell, length)) for cell in row))
    print_table(table)
