"""Fill the command output that the README shows: ``python -m scripts.update_docs``.

Each block stands between ``<!-- output: COMMAND -->`` and ``<!-- end -->``; the commands run
against the workspace that TRACIN_WORKSPACE names, or the default one.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

from relabel.workspace import REPOSITORY_ROOT

README = REPOSITORY_ROOT / "README.md"
BLOCK = re.compile(r"(<!-- output: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def run_command(arguments: str) -> str:
    """Return what ``python -m relabel ARGUMENTS`` prints, 100 columns wide."""
    done = subprocess.run(  # noqa: S603 - commands from our own README
        [sys.executable, "-m", "relabel", *shlex.split(arguments)],
        cwd=REPOSITORY_ROOT,
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.splitlines())


def main() -> int:
    """Write every block anew.

    Returns:
        The exit status.
    """
    text = README.read_text(encoding="utf-8")

    def fill(block: re.Match[str]) -> str:
        return f"{block[1]}```text\n{run_command(block[2])}\n```\n{block[3]}"

    README.write_text(BLOCK.sub(fill, text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
