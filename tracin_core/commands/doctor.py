"""``doctor``: what is installed, which device, is everything stored sound."""

from __future__ import annotations

import argparse

NAME = "doctor"
SUMMARY = "Check the installation, the workspace, the database and the projects."
_MARKS = {"ok": "ok", "note": "note", "broken": "BROKEN"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare nothing: it looks at everything."""


def run(options: argparse.Namespace) -> int:
    """Print each finding as it is made; return 1 when something is broken."""
    from tracin_core.commands.opening import choose_workspace
    from tracin_core.commands.tables import printable
    from tracin_core.jobs.diagnosis import diagnose

    num_broken = 0
    for finding in diagnose(choose_workspace(options)):
        num_broken += finding.level == "broken"
        mark = f"{_MARKS[finding.level]:<7} {finding.subject}"
        print(f"{mark}: {printable(finding.text)}", flush=True)
    print("Everything works." if not num_broken else f"{num_broken} to mend, see BROKEN above.")
    return 1 if num_broken else 0
