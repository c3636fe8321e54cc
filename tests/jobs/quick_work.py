"""This program with two more kinds of jobs, which need no data: the real processes, quickly.

``python -m tests.jobs.quick_work`` is used by tests in the place of ``python -m tracin_core``.
"""

from __future__ import annotations

import os
import sys
import time
import warnings

from tracin_core.cli import main
from tracin_core.errors import InputError
from tracin_core.jobs.kinds import Assignment, JobKind, register_kind
from tracin_core.work.progress import Progress

PROGRAM = (sys.executable, "-m", "tests.jobs.quick_work")


def count(assignment: Assignment) -> dict[str, int]:
    """Count up to ``steps`` in a file, which is kept: a second attempt goes on from there."""
    path = assignment.workspace.root / f"{assignment.slug}.count"
    steps = assignment.options["steps"]
    start = int(path.read_text()) if path.exists() else 0
    for done in range(start, steps):
        assignment.on_progress(Progress("counting", done, steps))
        time.sleep(assignment.options.get("seconds", 0.02))
        path.write_text(str(done + 1))
    assignment.on_progress(Progress("counting", steps, steps))
    return {"counted": steps, "began_at": start}


def fail(assignment: Assignment) -> dict[str, int]:
    """End badly, in the way that the options name."""
    print("a library says\r50%\r100% \x1b[31mdone\x1b[0m\x07", flush=True)
    warnings.warn("something looks odd", stacklevel=1)
    match assignment.options["how"]:
        case "bug":
            return {"answer": 1 // 0}
        case "input":
            raise InputError("Row 7 has no label. Expected one of a, b. Mend the table.")
        case "exit":
            os._exit(3)
        case "silent":
            assignment.on_progress(Progress("being quiet", 0, 1))
            time.sleep(60)
    return {}


def register() -> None:
    """Make the two kinds known to this process."""
    register_kind("count", JobKind(work=count, plan={"counting": 1}, needs_project=False))
    register_kind("fail", JobKind(work=fail, plan={"being quiet": 1}, needs_project=False))


if __name__ == "__main__":
    register()
    raise SystemExit(main())
