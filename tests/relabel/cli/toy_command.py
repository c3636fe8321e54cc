"""A command as somebody would add it, in a module that says when it is imported."""

from __future__ import annotations

import click

from relabel.cli.parameters import Location, command, project_argument, whole


@command
@project_argument
@click.option("--times", type=whole(1, 3), default=2, metavar="N", show_default=True)
def greet(location: Location, project: str, times: int) -> int:
    """Greet, and say where."""
    print(f"hello {project} " * times + f"in {location.resolve().root}")
    return 1
