"""``rename``: give a project another title or description."""

from __future__ import annotations

import argparse

NAME = "rename"
SUMMARY = "Give a project another title or description; its name, which is an address, stays."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare which, and the new texts."""
    parser.add_argument("project", metavar="NAME", help="project")
    parser.add_argument("title", metavar="TITLE", nargs="?", help="its title from now on")
    parser.add_argument("--description", metavar="TEXT")


def run(options: argparse.Namespace) -> int:
    """Change it and say what it is called now."""
    from tracin_core.commands.opening import open_project
    from tracin_core.commands.queue import excerpt
    from tracin_core.errors import ConfigurationError
    from tracin_core.reviews.project_management import rename_project

    if options.title is None and options.description is None:
        raise ConfigurationError(
            'Found no new text. Expected a title: rename NAME "New title", or --description TEXT.'
        )
    opened = open_project(options)
    project = rename_project(
        opened.engine, opened.project.id, title=options.title, description=options.description
    )
    print(f"{project.slug}: {excerpt(project.title, 200)}")
    return 0
