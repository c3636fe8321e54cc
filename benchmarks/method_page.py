"""The marked parts of docs/methods.md, and how a benchmark prints and fills its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.report import fill

PAGE = Path(__file__).resolve().parent.parent / "docs" / "methods.md"


def print_part(part: str, describe: Callable[[], str], doc: str | None) -> None:
    """Print what a benchmark finds, and put it into the page if ``--write`` asks for it.

    Args:
        part: The name between the page's marks.
        describe: Measures and returns Markdown.
        doc: The benchmark's description, for ``--help``.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"put it into {PAGE.name}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = describe()
    print(text)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(fill(page, part, text), encoding="utf-8")
