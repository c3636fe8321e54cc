"""``delete``: take a project away, with its decisions and files."""

from __future__ import annotations

import argparse

NAME = "delete"
SUMMARY = "Delete a project with its decisions and files; there is no way back but a backup."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare which, and that it was meant."""
    parser.add_argument("project", metavar="NAME", help="project")
    parser.add_argument("--yes", action="store_true", help="do not ask for the name again")


def run(options: argparse.Namespace) -> int:
    """Ask, then delete."""
    from tracin_core.commands.asking import ask
    from tracin_core.commands.opening import open_project, open_workspace
    from tracin_core.errors import ConfigurationError, NotFoundError
    from tracin_core.housekeeping.deleting import finish_removal, remove_project
    from tracin_core.housekeeping.disk import describe_bytes, measure_disk_use
    from tracin_core.numerals import counted
    from tracin_core.reviews.progress import review_progress

    try:
        opened = open_project(options, "delete")
    except NotFoundError:
        left = open_workspace(options, "delete")
        if not finish_removal(left.engine, left.workspace, options.project):
            raise
        print(f"Finished a deletion of {options.project} that had been cut off.")
        return 0
    slug = opened.project.slug
    decisions = review_progress(opened.engine, opened.project.id).decisions
    size = describe_bytes(measure_disk_use(opened.workspace, slug).total)
    if not options.yes:
        question = (
            f"This deletes {slug} with {counted(decisions, 'decision')} and {size} of files. "
            f"Type its name to go on: "
        )
        if ask(question, "--yes").strip() != slug:
            raise ConfigurationError(f"That is not the name; {slug} was not deleted.")
    remove_project(opened.engine, opened.workspace, slug)
    print(f"Deleted {slug}: {counted(decisions, 'decision')}, {size} of files.")
    return 0
