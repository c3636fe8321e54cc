"""The command line: one table of commands, each loaded when it is called.

A new command is a function with ``@command`` in a module of this package, and its line in
``COMMANDS``. Modules import what they need at their top: nothing of it is loaded before one of
their commands is called, and the help of the whole comes from the table alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import click

from relabel.cli.parameters import HELP, Location, shared_options
from relabel.text import printable
from relabel.workspace import find_program_name
from tracin_core import __version__
from tracin_core.errors import TracInError

# Exit codes: 2 as click itself uses it; the others as a shell reports the signal.
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


@dataclass(frozen=True)
class CommandEntry:
    """Where a command is, and what it does.

    Attributes:
        target: Module and function, such as ``package.module:function``.
        summary: One sentence for both helps.
        hidden: Whether the help of the whole leaves it out.
    """

    target: str
    summary: str
    hidden: bool = False

    def load(self) -> click.Command:
        """Return the command, whose module is imported now."""
        module, name = self.target.split(":")
        command: click.Command = getattr(import_module(module), name)
        command.help = self.summary
        return command


# In the order of a person's way, as the help shows them.
COMMANDS: dict[str, CommandEntry] = {
    "app": CommandEntry(
        "relabel.cli.system:app",
        "Start the label review in a browser.",
    ),
    "demo": CommandEntry(
        "relabel.cli.data:demo",
        "Build, train and score the demo projects; goes on where it was stopped.",
    ),
    "import": CommandEntry(
        "relabel.cli.imports:import_data",
        "Import your own data: folders of images or texts, a table, a saved data set, arrays.",
    ),
    "train": CommandEntry(
        "relabel.cli.work:train",
        "Train a network on a project and score its examples; goes on where it was stopped.",
    ),
    "score": CommandEntry(
        "relabel.cli.work:score",
        "Score a project with its newest training, or with checkpoints of your own training.",
    ),
    "queue": CommandEntry(
        "relabel.cli.queue:queue",
        "Show the train examples whose labels are most suspect.",
    ),
    "audit": CommandEntry(
        "relabel.cli.audit:audit",
        "Draw examples at random to say how many labels are wrong, and when to stop.",
    ),
    "learn": CommandEntry(
        "relabel.cli.audit:learn",
        "Rank what is left by what was decided, where that is at least as good.",
    ),
    "evaluate": CommandEntry(
        "relabel.cli.evaluate:evaluate",
        "Compare the signals where the truth is known: demos, planted errors, --truth.",
    ),
    "compare": CommandEntry(
        "relabel.cli.compare:compare",
        "Run attribution methods beside each other: what each finds, agrees on, and takes.",
    ),
    "rescore": CommandEntry(
        "relabel.cli.work:rescore",
        "Bring a project's scores up to its corrected labels; only what changed is computed.",
    ),
    "gain": CommandEntry(
        "relabel.cli.worth:gain",
        "Measure what the corrections have gained: the same model with and without them.",
    ),
    "report": CommandEntry(
        "relabel.cli.worth:report",
        "Write the report of a review for a stakeholder: one HTML file, and figures for slides.",
    ),
    "value": CommandEntry(
        "relabel.cli.value:value",
        "Show which train examples helped or harmed the test examples, by groups of them.",
    ),
    "export": CommandEntry(
        "relabel.cli.data:export",
        "Write the corrected labels to a file.",
    ),
    "decisions": CommandEntry(
        "relabel.cli.decisions:decisions",
        "Record what was decided elsewhere: an export that was changed, or Label Studio's.",
    ),
    "role": CommandEntry(
        "relabel.cli.team:role",
        "Say who leads: only leads then undo others' decisions, settle and export.",
    ),
    "projects": CommandEntry(
        "relabel.cli.projects:projects",
        "List the projects: kind, examples, how much is reviewed, disk use.",
    ),
    "rename": CommandEntry(
        "relabel.cli.projects:rename",
        "Give a project another title or description; its name, which is an address, stays.",
    ),
    "archive": CommandEntry(
        "relabel.cli.projects:archive",
        "Put a project away, with all that it has, or take it out again.",
    ),
    "delete": CommandEntry(
        "relabel.cli.projects:delete",
        "Delete a project with its decisions and files; there is no way back but a backup.",
    ),
    "backup": CommandEntry(
        "relabel.cli.projects:backup",
        "Write a project into one file: examples, decisions, runs, truth.",
    ),
    "restore": CommandEntry(
        "relabel.cli.projects:restore",
        "Bring a project back from a backup, with every decision in its order.",
    ),
    "publish": CommandEntry(
        "relabel.cli.stores:publish",
        "Write a scored run into a store that other machines reach: S3, Google, a shared folder.",
    ),
    "fetch": CommandEntry(
        "relabel.cli.stores:fetch",
        "Bring a run from such a store into the project, and show its suspects.",
    ),
    "jobs": CommandEntry(
        "relabel.cli.jobs:jobs",
        "Show running and past jobs; cancel or retry one, or read its log.",
    ),
    "doctor": CommandEntry(
        "relabel.cli.system:doctor",
        "Check the installation, the workspace, the database and the projects.",
    ),
    # For start_job, not for people.
    "work": CommandEntry(
        "relabel.cli.jobs:work",
        "Do a queued job in this process.",
        hidden=True,
    ),
}


class LazyGroup(click.Group):
    """Commands of a table, imported when they are called."""

    def __init__(self, entries: Mapping[str, CommandEntry], **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names that the help shows."""
        return [name for name, entry in self.entries.items() if not entry.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None where there is none of this name."""
        entry = self.entries.get(cmd_name)
        return None if entry is None else entry.load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called, and what stands after its name."""
        name = args[0]
        if name not in self.entries and not name.startswith("-"):
            known = ", ".join(self.list_commands(ctx))
            ctx.fail(f"There is no command called {name!r}. Choose one of: {known}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table into the help; click would import every command for it."""
        names = self.list_commands(ctx)
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.entries[name].summary) for name in names])


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings=HELP,
)
@shared_options
@click.version_option(__version__, message="relabel %(version)s")
def group() -> None:
    """Find wrong labels with TracIn, see why, and record the corrections."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What stands after the program's name; the process's own by default.

    Returns:
        The exit code: 0 for success, 1 for findings (``doctor``), 2 for an error that the
        message on stderr explains, 130 after Ctrl-C.

    Raises:
        SystemExit: With 2, if the command line itself cannot be understood.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(group, find_program_name(), words)


def run_command(called: click.Command, name: str, words: Sequence[str]) -> int:
    """Run a command or a group; every expected error becomes one sentence and an exit code.

    Not click's own ``main``, which turns errors, Ctrl-C and closed pipes into its own words.

    Args:
        called: What is run; its function returns the exit code.
        name: What a person types to call it.
        words: What stands after that.

    Returns:
        The exit code, as for ``main``.

    Raises:
        SystemExit: With 2, if the words cannot be understood.
    """
    try:
        with called.make_context(name, list(words), obj=Location()) as context:
            code: int = called.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        _explain_usage(error)
        raise SystemExit(EXIT_ERROR) from None
    except TracInError as error:
        print(f"relabel: {printable(str(error))}", file=sys.stderr)
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


def _explain_usage(error: click.UsageError) -> None:
    """Print what cannot be understood to stderr, without what would steer the terminal."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.message, file=sys.stderr)
        return
    if error.ctx is not None:
        help_call = f"Try '{error.ctx.command_path} --help' for help."
        print(f"{error.ctx.get_usage()}\n{help_call}\n", file=sys.stderr)
    print(f"Error: {printable(error.format_message())}", file=sys.stderr)
