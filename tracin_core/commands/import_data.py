"""``import``: a person's own data, with a preview first."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracin_core.commands.numbers import seed, share
from tracin_core.sources.formats import IMPORTERS

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tracin_core.config import Workspace
    from tracin_core.importing.planned import PlannedImport
    from tracin_core.importing.report import ImportReport
    from tracin_core.jobs.kinds import Assignment
    from tracin_core.sources import ImportOptions

NAME = "import"
SUMMARY = "Import your own data: folders of images or texts, a table, a saved data set, arrays."

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


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare where the data is and what can be said about it."""
    parser.add_argument("project", metavar="NAME", help="project to make, or to add to")
    parser.add_argument("path", metavar="PATH", type=Path, help="file or folder with the data")
    parser.add_argument(
        "--preview", action="store_true", help="show what would be imported, and write nothing"
    )
    parser.add_argument("--yes", action="store_true", help="import without asking")
    parser.add_argument(
        "--strict", action="store_true", help="import nothing if there is any problem"
    )
    parser.add_argument("--title", help="name for people (default: NAME)")
    parser.add_argument("--description", default="", help="what the data is, for people")
    parser.add_argument("--format", choices=list(IMPORTERS), help="default: found out")
    for name, (metavar, text) in _SINGLE.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=text)
    for name, (metavar, text) in _SEVERAL.items():
        parser.add_argument(f"--{name}", metavar=metavar, type=_list, help=text)
    parser.add_argument(
        "--first-class",
        type=int,
        choices=(0, 1),
        help="from where labels that are numbers are counted (default: found out)",
    )
    parser.add_argument(
        "--merge-twins",
        action="store_true",
        help="make one class of names that differ in capitals, blanks or invisible characters",
    )
    parser.add_argument(
        "--test-share",
        type=share,
        default=0.2,
        metavar="SHARE",
        help="for testing where the data has no split (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="chooses the split and the planted errors (default: %(default)s)",
    )
    parser.add_argument(
        "--plant",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="make this share of the train labels wrong on purpose, to try the tool out",
    )


def run(options: argparse.Namespace) -> int:
    """Show what was understood, ask, and import."""
    from tracin_core.commands.import_display import print_preview
    from tracin_core.commands.opening import choose_workspace
    from tracin_core.commands.progress_display import show_progress
    from tracin_core.importing.surveying import preview_import, survey_for
    from tracin_core.reviews.database import open_database
    from tracin_core.reviews.project_rules import check_slug
    from tracin_core.sources.shared_files import sharing_files
    from tracin_core.work.memory import memory_bounded

    check_slug(options.project)
    said = read_options(options)
    workspace = choose_workspace(options)
    workspace.prepare()
    engine = open_database(workspace.database_url)
    _check_not_named(engine, options)
    place = (engine, options.project, options.path)
    with sharing_files():
        with show_progress(options.project) as report, memory_bounded(str(options.path)):
            surveyed = survey_for(*place, said, rows=10, on_progress=report)
        preview, planned = preview_import(engine, workspace, options.project, surveyed)
    print_preview(preview, planned.plan, options.project)
    if options.preview or not _agreed(options):
        print("Nothing was imported.")
        return 0
    done = _import_as_job(engine, workspace, options, said, planned)
    print(describe_report(done))
    return 0


def _check_not_named(engine: Engine, options: argparse.Namespace) -> None:
    """See that no name is given to a project that has one.

    Raises:
        ConfigurationError: If one is.
    """
    from tracin_core.errors import ConfigurationError
    from tracin_core.importing.surveying import find_project

    given = [f"--{name}" for name in ("title", "description") if getattr(options, name)]
    if given and find_project(engine, options.project) is not None:
        raise ConfigurationError(
            f"{' and '.join(given)} {'has' if len(given) == 1 else 'have'} no effect: the project "
            f"{options.project!r} is there already, and keeps its words. Leave it out; they are "
            f'changed with: python -m tracin_core rename {options.project} "New title"'
        )


def _import_as_job(
    engine: Engine,
    workspace: Workspace,
    options: argparse.Namespace,
    said: ImportOptions,
    planned: PlannedImport,
) -> ImportReport:
    """Import what was read and planned already, as a job that others see and may cancel."""
    from tracin_core.commands.progress_display import show_progress
    from tracin_core.files import expand_path
    from tracin_core.importing.importing import import_project
    from tracin_core.jobs.inline import do_job
    from tracin_core.work.memory import memory_bounded

    path = expand_path(options.path).resolve()
    texts = {name: getattr(options, name) for name in ("title", "description", "strict")}
    reports = []

    def work(assignment: Assignment) -> dict[str, Any]:
        report = import_project(
            engine,
            workspace,
            options.project,
            path,
            said,
            **texts,
            planned=planned,
            on_progress=assignment.on_progress,
        )
        reports.append(report)
        return report.to_json()

    job_options = {"path": str(path), "options": said.to_json()} | texts
    place = (engine, workspace, options.project, NAME, job_options)
    with show_progress(options.project) as show, memory_bounded(str(path)):
        do_job(*place, show=show, work=work)
    return reports[0]


def read_options(options: argparse.Namespace) -> ImportOptions:
    """Return what the person said about the data.

    Raises:
        ConfigurationError: If it contradicts itself.
    """
    from tracin_core.files import expand_path
    from tracin_core.sources.options import ImportOptions

    names = [name.replace("-", "_") for name in (*_SINGLE, *_SEVERAL)]
    said: dict[str, Any] = {name: getattr(options, name) for name in names}
    if said["image_root"]:
        # The job may be retried from elsewhere.
        said["image_root"] = str(expand_path(said["image_root"]).resolve())
    return ImportOptions(
        format=options.format,
        test_share=options.test_share,
        seed=options.seed,
        first_class=options.first_class,
        merge_twins=options.merge_twins,
        plant=options.plant,
        **said,
    )


def describe_report(report: ImportReport) -> str:
    """Say in a few sentences what an import did, and what comes next."""
    from tracin_core.numerals import counted

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
        words.append(
            f"Left out: {report.num_refused:,} with problems, {report.duplicates:,} repeated."
        )
    words += report.notes
    if report.classes_added:
        words.append(f"New classes: {', '.join(report.classes_added)}.")
    if train + test:
        words.append(f"Next: python -m tracin_core train {report.slug}")
    return " ".join(words)


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _agreed(options: argparse.Namespace) -> bool:
    """Ask where a person sits at the terminal."""
    if options.yes or not sys.stdin.isatty():
        return True
    return input("Import this? [Y/n] ").strip().lower() in ("", "y", "yes")


def _list(text: str) -> tuple[str, ...]:
    from tracin_core.sources.name_lists import split_names

    return split_names(text)
