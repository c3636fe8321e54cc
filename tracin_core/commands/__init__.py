"""The commands of the terminal, one a module.

A command is a module with ``NAME``, ``SUMMARY``, ``add_options(parser)`` and ``run(options)``,
which returns the exit code. A new command is one new module and its name below. What a command
needs beyond argparse it imports when it runs, so that no command pays for another.
"""

from __future__ import annotations

import argparse
from typing import Protocol, cast

from tracin_core.commands import (
    archive,
    backup,
    delete,
    demo,
    doctor,
    evaluate,
    export,
    import_data,
    jobs,
    projects,
    queue,
    rename,
    rescore,
    restore,
    score,
    train,
    work,
)


class Command(Protocol):
    """What a command's module offers."""

    NAME: str
    SUMMARY: str

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own arguments."""

    def run(self, options: argparse.Namespace) -> int:
        """Do the work and return the exit code."""


# In the order of a person's way, as the help shows them.
_MODULES = (
    *(demo, import_data, train, score, queue, evaluate, rescore, export),
    *(projects, rename, archive, delete, backup, restore),
    *(jobs, doctor, work),
)
COMMANDS = tuple(cast(Command, module) for module in _MODULES)
