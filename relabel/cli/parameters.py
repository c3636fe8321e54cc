"""Options and arguments that commands share: the workspace, numbers in bounds, lists of names.

Nothing here loads more than click: the help of the whole needs it too.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from relabel.text import LARGEST_NUMBER, LARGEST_SEED
from relabel.workspace import (
    DATABASE_VARIABLE,
    DEFAULT_WORKSPACE,
    IS_CHECKOUT,
    WORKSPACE_VARIABLE,
    Workspace,
    describe_other_workspaces,
    resolve_workspace,
)

_WHOLE = re.compile(r"\s*[+-]?\d{1,30}\s*", re.ASCII)
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
Decorated = TypeVar("Decorated", bound=Callable[..., Any])
project_argument = click.argument("project", metavar="NAME", help="project")
background_option = click.option(
    "--background",
    is_flag=True,
    help="start it in a process of its own and return at once; see `jobs`",
)
format_option = click.option(
    "--format", type=click.Choice(("table", "json")), default="table", show_default=True
)


@dataclass
class Location:
    """Where the work is done, as the command line says it; None leaves it to the environment."""

    workspace: str | None = None
    database: str | None = None

    def resolve(self) -> Workspace:
        """Return the workspace that the options and the environment name.

        Where data lies in another place that was a default once, stderr says so.
        """
        if note := describe_other_workspaces(self.workspace):
            print(note, file=sys.stderr)
        return resolve_workspace(self.workspace, self.database)


def command(function: Callable[..., int]) -> click.Command:
    """Return a function as a command, with the options that all have.

    Args:
        function: Takes a ``Location``, then its own options by their names; returns the exit code.
    """
    return click.command(context_settings=HELP)(shared_options(click.pass_obj(function)))


def shared_options(target: Decorated) -> Decorated:
    """Add the options that may stand before or after the command; the later one counts."""
    default = "data/workspace" if IS_CHECKOUT else DEFAULT_WORKSPACE
    workspace = click.option(
        "--workspace",
        metavar="DIR",
        help=f"folder of all projects (default: {WORKSPACE_VARIABLE}, else {default})",
        expose_value=False,
        callback=_keep,
    )
    database = click.option(
        "--database",
        metavar="URL",
        help=f"SQLAlchemy URL (default: {DATABASE_VARIABLE}, else SQLite in the workspace)",
        expose_value=False,
        callback=_keep,
    )
    return workspace(database(target))


def _keep(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Note a place; what is not said after the command leaves what stood before it."""
    if value is not None:
        setattr(ctx.ensure_object(Location), str(parameter.name), value)


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number within its bounds, for ``type=`` of an option."""

    def read(text: str | int) -> int:
        # A number of thousands of digits is none that anybody means, and slow to read.
        number = int(text) if _WHOLE.fullmatch(str(text)) else None
        if number is None or not least <= number <= most:
            raise click.BadParameter(
                f"found {str(text)[:40]!r}, expected a whole number from {least} to {most}"
            )
        return number

    return read


def number(expected: str, holds: Callable[[float], bool]) -> Callable[[str], float]:
    """Return what reads a finite number for which something holds.

    Args:
        expected: What, in words.
        holds: Tells whether it does.
    """

    def read(text: str | float) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not math.isfinite(found) or not holds(found):
            raise click.BadParameter(f"found {str(text)[:40]!r}, expected {expected}")
        return found

    return read


seed = whole(0, LARGEST_SEED)
row_id = whole(1, LARGEST_NUMBER)
share = number("a number from 0 to 1", lambda found: 0 <= found <= 1)
