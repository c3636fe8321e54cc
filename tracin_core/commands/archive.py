"""``archive``: put a project away, or take it out again."""

from __future__ import annotations

import argparse

NAME = "archive"
SUMMARY = "Put a project away, with all that it has, or take it out again."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare which, and which way."""
    parser.add_argument("project", metavar="NAME", help="project")
    parser.add_argument("--undo", action="store_true", help="take it out again")


def run(options: argparse.Namespace) -> int:
    """Do it and say where it is listed now."""
    from tracin_core.commands.opening import open_project
    from tracin_core.reviews.project_management import archive_project, unarchive_project

    opened = open_project(options)
    if options.undo:
        unarchive_project(opened.engine, opened.project.id)
        print(f"{opened.project.slug} is in use again.")
    else:
        archive_project(opened.engine, opened.project.id)
        print(f"{opened.project.slug} is put away; see it with `projects --archived`.")
    return 0
