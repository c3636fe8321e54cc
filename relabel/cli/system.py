"""``app`` starts the server with the screens; ``doctor`` checks the installation and the data."""

from __future__ import annotations

import os
import sys

import click

from relabel.cli.parameters import Location, command
from relabel.doctor import diagnose
from relabel.text import printable
from relabel.workspace import find_app_folder
from tracin_core.errors import ConfigurationError

_MARKS = {"ok": "ok", "note": "note", "broken": "BROKEN"}


# Every option is the launcher's own, its help as well.
@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", metavar="[OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def app(location: Location, arguments: tuple[str, ...]) -> int:
    """Become the server: Ctrl-C and the exit code are its own."""
    launcher = find_app_folder() / "app.py"
    if not launcher.is_file():
        raise ConfigurationError(
            f"Found no {launcher}. Expected the screens with the package. Install tracin-relabel, "
            "or start the app from a checkout."
        )
    places = {"--workspace": location.workspace, "--database": location.database}
    before = [word for name, value in places.items() if value for word in (name, value)]
    sys.stdout.flush()
    # What stands after the command comes later, and counts.
    os.execv(sys.executable, [sys.executable, str(launcher), *before, *arguments])  # noqa: S606
    return 0


@command
def doctor(location: Location) -> int:
    """Print each finding as it is made; return 1 when something is broken."""
    num_broken = 0
    for finding in diagnose(location.resolve()):
        num_broken += finding.level == "broken"
        mark = f"{_MARKS[finding.level]:<7} {finding.subject}"
        print(f"{mark}: {printable(finding.text)}", flush=True)
    print("Everything works." if not num_broken else f"{num_broken} to mend, see BROKEN above.")
    return 1 if num_broken else 0
