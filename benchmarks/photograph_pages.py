"""What a browser waits for on each page of a project of photographs.

Run: python -m benchmarks.photograph_pages [--photographs 60000] [--folder DIR]

The project is that of ``benchmarks.review_keys``, the measure that of ``benchmarks.million``.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

from benchmarks.million import ROW, measure_pages
from benchmarks.review_keys import SLUG, build_project
from relabel.workspace import resolve_workspace

PAGES = {
    "queue, a grid of a hundred": ("queue", ROW),
    "queue, page 300": ("queue?page=300", ROW),
    "queue, one class": ("queue?given=harbour", ROW),
    "queue, network disagrees": ("queue?disagrees=true", ROW),
    "review, the first suspect": ("review", "[data-example-id]"),
    "inspect": ("inspect?example=30017", "[data-testid=stMain] h1"),
    "overview": ("overview", "[data-testid=stDataFrame]"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=int, default=60_000, metavar="N")
    parser.add_argument("--folder", type=Path, help="made where missing, and kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        workspace = resolve_workspace(options.folder or Path(temporary))
        if not workspace.project_folder(SLUG).exists():
            build_project(workspace, options.photographs)
        print(
            f"{options.photographs:,} photographs, {platform.machine()}, {os.cpu_count()} "
            f"processors, load {os.getloadavg()[0]:.0f}.\n"
        )
        measure_pages(workspace, PAGES)


if __name__ == "__main__":
    main()
