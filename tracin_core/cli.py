"""The command line: finds the command, runs it, and turns errors into one sentence each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from tracin_core import __version__
from tracin_core.commands import COMMANDS
from tracin_core.commands.tables import printable
from tracin_core.config import DATABASE_VARIABLE, WORKSPACE_VARIABLE
from tracin_core.errors import TracInError

# Exit codes: 2 as argparse itself uses it; the others as a shell reports the signal.
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What stands after ``python -m tracin_core``; the process's own by default.

    Returns:
        The exit code: 0 for success, 1 for findings (``doctor``), 2 for an error that the
        message on stderr explains, 130 after Ctrl-C.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help(sys.stderr)
        return EXIT_ERROR
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except TracInError as error:
        print(f"tracin_core: {printable(str(error))}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("\nStopped. What was finished is kept; the same command goes on.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough. Point stdout elsewhere, or Python
        # complains about it once more while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m tracin_core",
        description="Find wrong labels with TracIn, see why, and record the corrections.",
    )
    parser.add_argument("--version", action="version", version=f"tracin_core {__version__}")
    parser.set_defaults(run=None, workspace=None, database=None)
    _add_shared_options(parser)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        # A command without a help text is not listed, but works.
        shown: dict[str, Any] = (
            {} if getattr(command, "HIDDEN", False) else {"help": command.SUMMARY}
        )
        subparser = subparsers.add_parser(command.NAME, description=command.SUMMARY, **shown)
        _add_shared_options(subparser)
        command.add_options(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def _add_shared_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that may stand before or after the command.

    Suppressed defaults keep the command's parser from overwriting what stood before it.
    """
    parser.add_argument(
        "--workspace",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help=f"folder of all projects (default: {WORKSPACE_VARIABLE}, else data/workspace)",
    )
    parser.add_argument(
        "--database",
        metavar="URL",
        default=argparse.SUPPRESS,
        help=f"SQLAlchemy URL (default: {DATABASE_VARIABLE}, else SQLite in the workspace)",
    )
