"""``export``: write the corrected labels to a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracin_core.exporters import EXPORTERS, find_exporter

NAME = "export"
SUMMARY = "Write the corrected labels to a file."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what to write and where."""
    parser.add_argument("project", metavar="NAME", help="project")
    parser.add_argument(
        "--format", choices=list(EXPORTERS), help="default: by the file's ending, else csv"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PATH")
    parser.add_argument(
        "--reviewed-only", action="store_true", help="leave out what nobody has decided on"
    )


def run(options: argparse.Namespace) -> int:
    """Write the file whole or not at all, and say how many labels it holds."""
    from tracin_core.commands.opening import open_project
    from tracin_core.errors import WorkspaceError
    from tracin_core.files import expand_path
    from tracin_core.reviews.export import export_labels

    opened = open_project(options, "look")
    path: Path = expand_path(options.output)
    if not path.parent.is_dir() or path.is_dir():
        what = "is a folder" if path.is_dir() else f"lies in {path.parent}, which does not exist"
        raise WorkspaceError(f"{path} {what}. Name a file in an existing folder after -o.")
    export_labels(
        opened.engine,
        opened.project.id,
        format=options.format or find_exporter(path.suffix.removeprefix(".")).name,
        path=path,
        reviewed_only=options.reviewed_only,
    )
    print(f"Wrote {path} ({path.stat().st_size:,} bytes).")
    return 0
