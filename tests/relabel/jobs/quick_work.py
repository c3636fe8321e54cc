"""This program with two more kinds of jobs, which need no data: the real processes, quickly.

``python -m tests.relabel.jobs.quick_work`` is used by tests in the place of ``python -m relabel``.
"""

from __future__ import annotations

import os
import sys
import time
import warnings

from relabel.cli import main
from relabel.jobs.tasks import TaskContext, TaskSpec, register_task
from relabel.progress import Progress
from tracin_core.errors import InputError

PROGRAM = (sys.executable, "-m", "tests.relabel.jobs.quick_work")


def count(context: TaskContext) -> dict[str, int]:
    """Count up to ``steps`` in a file, which is kept: a second attempt goes on from there."""
    path = context.workspace.root / f"{context.slug}.count"
    steps = context.options["steps"]
    start = int(path.read_text()) if path.exists() else 0
    for done in range(start, steps):
        context.on_progress(Progress("counting", done, steps))
        time.sleep(context.options.get("seconds", 0.02))
        path.write_text(str(done + 1))
    context.on_progress(Progress("counting", steps, steps))
    return {"counted": steps, "began_at": start}


def fail(context: TaskContext) -> dict[str, int]:
    """End badly, in the way that the options name."""
    print("a library says\r50%\r100% \x1b[31mdone\x1b[0m\x07", flush=True)
    warnings.warn("something looks odd", stacklevel=1)
    match context.options["how"]:
        case "bug":
            return {"answer": 1 // 0}
        case "input":
            raise InputError("Row 7 has no label. Expected one of a, b. Mend the table.")
        case "exit":
            os._exit(3)
        case "silent":
            context.on_progress(Progress("being quiet", 0, 1))
            time.sleep(60)
    return {}


def register() -> None:
    """Make the two kinds known to this process."""
    register_task("count", TaskSpec(work=count, stage_shares={"counting": 1}, needs_project=False))
    register_task("fail", TaskSpec(work=fail, stage_shares={"being quiet": 1}, needs_project=False))


if __name__ == "__main__":
    register()
    raise SystemExit(main())
