"""``import``: a person's own data, with a preview first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from relabel.cli.display import print_table, show_progress
from relabel.cli.parameters import Location, command, seed, share
from relabel.db.engine import open_database
from relabel.db.project_rules import check_slug
from relabel.db.projects import find_project
from relabel.importers.addresses import fetch_named
from relabel.importers.classes import Plan
from relabel.importers.files.shared import share_open_files
from relabel.importers.formats.registry import IMPORTERS
from relabel.importers.ingest.planned import PlannedImport
from relabel.importers.ingest.project import ImportReport, import_project
from relabel.importers.options import ImportOptions, split_names
from relabel.importers.preview import preview_import, survey_for
from relabel.importers.records import Preview, PreviewRow, Problem, choose_problems
from relabel.jobs.launch import run_job_inline
from relabel.jobs.tasks import TaskContext
from relabel.sandbox import limit_memory
from relabel.text import counted, excerpt
from relabel.workspace import Workspace, find_program_name
from tracin_core.errors import ConfigurationError
from tracin_core.files import expand_path

_SHOWN_CLASSES = 20
_SHOWN_PROBLEMS = 20
_CELL_LENGTH = 240  # characters
_NOTE_LENGTH = 400  # characters
_WHOLE = 10_000  # characters: a note says everything, such as every spelling of every class

# Options that name one thing, those that name several, and what they say.
_SINGLE = {
    "dataset": ("NAME", "torchvision data set, for example MNIST; PATH is its folder"),
    "image": ("COLUMN", "column with image files (or array of an .npz file)"),
    "label": ("COLUMN", "column (or array) with the classes to check"),
    "target": ("COLUMN", "column (or array) with the number to check (regression)"),
    "split": ("COLUMN", "column that says which rows are for training"),
    "key": ("COLUMN", "column with a name for each example that stays when the data grows"),
    "truth": ("COLUMN", "column (or array) with what is truly right; read by `evaluate` only"),
    "status": ("COLUMN", "column that says whether a row's label holds (default: found out)"),
    "image-root": ("DIR", "folder that image paths are relative to (default: the table's)"),
    "encoding": ("NAME", "of a text file (default: found out)"),
    "sheet": ("NAME", "of a workbook (default: the first shown one of two columns or more)"),
    "delimiter": ("CHAR", "between fields, or: tab (default: found out)"),
}
_SEVERAL = {
    "columns": ("A,B", "names for the columns of a file that has no line of names"),
    "text": ("A,B", "column with texts, or several whose texts are joined"),
    "features": ("A,B", "columns of a table that are the input (default: all that can be)"),
    "train-values": ("A,B", "values of the split column, or folders, that are for training"),
    "test-values": ("A,B", "the same for testing"),
    "classes": ("A,B", "names for labels that are numbers, names in their order, or folders"),
    "status-values": ("A,B", "values of the status column with which a row is taken"),
}


def _column_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options that name columns, in the order of the two tables."""
    tables = [(_SINGLE, None), (_SEVERAL, split_names)]
    for table, reader in reversed(tables):
        for name, (metavar, text) in reversed(table.items()):
            function = click.option(f"--{name}", metavar=metavar, type=reader, help=text)(function)
    return function


@command
@click.argument("project", metavar="NAME", help="project to make, or to add to")
@click.argument("path", metavar="PATH", type=Path, help="file or folder with the data")
@click.option("--preview", is_flag=True, help="show what would be imported, and write nothing")
@click.option("--yes", is_flag=True, help="import without asking")
@click.option("--strict", is_flag=True, help="import nothing if there is any problem")
@click.option("--title", help="name for people (default: NAME)")
@click.option("--description", default="", help="what the data is, for people")
@click.option("--format", type=click.Choice(list(IMPORTERS)), help="default: found out")
@_column_options
@click.option(
    "--first-class",
    type=click.Choice((0, 1)),
    help="from where labels that are numbers are counted (default: found out)",
)
@click.option(
    "--merge-twins",
    is_flag=True,
    help="make one class of names that differ in capitals, blanks or invisible characters",
)
@click.option(
    "--test-share",
    type=share,
    default=0.2,
    metavar="SHARE",
    show_default=True,
    help="for testing where the data has no split",
)
@click.option(
    "--seed",
    type=seed,
    default=0,
    metavar="SEED",
    show_default=True,
    help="chooses the split and the planted errors",
)
@click.option(
    "--plant",
    type=share,
    default=0.0,
    metavar="SHARE",
    help="make this share of the train labels wrong on purpose, to try the tool out",
)
def import_data(
    location: Location, project: str, path: Path, preview: bool, yes: bool, **said: Any
) -> int:
    """Show what was understood, ask, and import."""
    check_slug(project)
    options = read_options(said)
    workspace = location.resolve()
    workspace.prepare()
    engine = open_database(workspace.database_url)
    _check_not_named(engine, project, said)
    path, options = fetch_named(path, options, workspace, print)
    with share_open_files():
        with show_progress(project) as report, limit_memory(str(path)):
            surveyed = survey_for(engine, project, path, options, rows=10, on_progress=report)
        understood, planned = preview_import(engine, workspace, project, surveyed)
    print_preview(understood, planned.plan, project)
    if preview or not (yes or _agreed()):
        print("Nothing was imported.")
        return 0
    texts = {name: said[name] for name in ("title", "description", "strict")}
    done = _import_as_job(engine, workspace, project, path, options, texts, planned)
    print(describe_report(done))
    return 0


def _check_not_named(engine: Engine, project: str, said: Mapping[str, Any]) -> None:
    """Raise if a name is given to a project that has one.

    Raises:
        ConfigurationError: If one is.
    """
    given = [f"--{name}" for name in ("title", "description") if said[name]]
    if given and find_project(engine, project) is not None:
        raise ConfigurationError(
            f"{' and '.join(given)} {'has' if len(given) == 1 else 'have'} no effect: the project "
            f"{project!r} is there already, and keeps its words. Leave it out; they are "
            f'changed with: {find_program_name()} rename {project} "New title"'
        )


def _import_as_job(
    engine: Engine,
    workspace: Workspace,
    project: str,
    source: Path,
    options: ImportOptions,
    texts: dict[str, Any],
    planned: PlannedImport,
) -> ImportReport:
    """Import what was read and planned already, as a job that others see and may cancel."""
    path = expand_path(source).resolve()
    reports = []

    def work(assignment: TaskContext) -> dict[str, Any]:
        report = import_project(
            engine,
            workspace,
            project,
            path,
            options,
            **texts,
            planned=planned,
            on_progress=assignment.on_progress,
        )
        reports.append(report)
        return report.to_json()

    job_options = {"path": str(path), "options": options.to_json()} | texts
    place = (engine, workspace, project, "import", job_options)
    with show_progress(project) as show, limit_memory(str(path)):
        run_job_inline(*place, show=show, work=work)
    return reports[0]


def read_options(said: Mapping[str, Any]) -> ImportOptions:
    """Return what the person said about the data.

    Args:
        said: Values by the names of the command's options; what the data is not about is ignored.

    Raises:
        ConfigurationError: If it contradicts itself.
    """
    names = [name.replace("-", "_") for name in (*_SINGLE, *_SEVERAL)]
    columns: dict[str, Any] = {name: said[name] for name in names}
    if columns["image_root"]:
        # The job may be retried from elsewhere.
        columns["image_root"] = str(expand_path(columns["image_root"]).resolve())
    others = ("format", "test_share", "seed", "first_class", "merge_twins", "plant")
    return ImportOptions(**{name: said[name] for name in others}, **columns)


def _agreed() -> bool:
    """Return whether the person agrees, where one sits at the terminal."""
    if not sys.stdin.isatty():
        return True
    return input("Import this? [Y/n] ").strip().lower() in ("", "y", "yes")


def describe_report(report: ImportReport) -> str:
    """Describe in a few sentences what an import did, and what comes next."""
    train, test = report.added["train"], report.added["test"]
    words = [
        f"{report.slug}: {'imported' if report.created else 'added'} {train:,} train and "
        f"{counted(test, 'test example')} in {report.seconds:.1f} s."
    ]
    if report.skipped_known:
        words.append(f"{report.skipped_known:,} {_was(report.skipped_known)} there already.")
    if report.changed:
        stay = "stays" if report.changed == 1 else "stay"
        words.append(f"{report.changed:,} had changed and {stay} as imported.")
    if report.num_refused or report.duplicates:
        words.append(f"Left out: {_left_out(report)}.")
    words += report.notes
    if report.classes_added:
        words.append(f"New classes: {', '.join(report.classes_added)}.")
    if train + test:
        words.append(f"Next: {find_program_name()} train {report.slug}")
    return " ".join(words)


def _left_out(counted_up: ImportReport | Preview) -> str:
    refused, repeated = counted_up.num_refused, counted_up.duplicates
    if not refused + repeated:
        return "nothing"
    return f"{refused:,} with problems, {repeated:,} repeated"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


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
        ("left out", _left_out(preview)),
    ]
    if preview.num_findings:
        facts.append(("worth a look", f"{preview.num_findings:,} kept with the findings below"))
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
    if row.text is not None and row.fields:
        return "\n".join(f"{name}: {value}" for name, value in row.fields.items() if value)
    if row.text is not None:
        return row.text
    if row.fields is not None:
        return ", ".join(f"{name}={value}" for name, value in row.fields.items())
    return "picture"


def _print_problems(preview: Preview) -> None:
    rows = ((what, f"{number:,}") for what, number in preview.problem_counts.items())
    noun = preview.problem_noun
    _print(f"{noun.capitalize()}s by kind", ("what", "number"), rows)
    shown = choose_problems(preview.problems, _SHOWN_PROBLEMS)
    _print(
        f"The first {len(shown)} {noun}s" if len(shown) > 1 else f"The {noun}",
        ("place", "what is wrong, and what can be done"),
        ((_place(problem), problem.message) for problem in shown),
        length=_NOTE_LENGTH,
    )


def _place(problem: Problem) -> str:
    return problem.where if problem.refused else f"{problem.where} (kept)"


def _print(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    length: int = _CELL_LENGTH,
) -> None:
    table = Table(
        title=Text(title), title_justify="left", show_header=any(headings), show_lines=False
    )
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(Text(excerpt(cell, length)) for cell in row))
    print_table(table)
