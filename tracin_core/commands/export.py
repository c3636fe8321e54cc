"""``export``: write the corrected labels to a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal, get_args

NAME = "export"
SUMMARY = "Write the corrected labels to a file."
Format = Literal["csv", "parquet", "jsonl"]
_FORMATS: tuple[Format, ...] = get_args(Format)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what to write and where."""
    parser.add_argument("project", metavar="NAME", help="project")
    parser.add_argument(
        "--format", choices=_FORMATS, help="default: by the file's ending, else csv"
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
        format=options.format or _format_of(path),
        path=path,
        reviewed_only=options.reviewed_only,
    )
    print(f"Wrote {path} ({path.stat().st_size:,} bytes).")
    return 0


def _format_of(path: Path) -> Format:
    ending = path.suffix.removeprefix(".").lower()
    return next((known for known in _FORMATS if known == ending), "csv")
