"""What killed processes were writing, in all the places where this program writes."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.holding import remove_abandoned_temporaries, remove_abandoned_unpackings
from tracin_core.housekeeping.uploads import tidy_uploads
from tracin_core.importing.kept_plans import remove_abandoned_plans
from tracin_core.reviews.job_rows import list_jobs

# Where a project has files that are written whole or not at all.
_IN_PROJECTS = (".", "runs/*", "training/*")


def remove_abandoned(engine: Engine, workspace: Workspace) -> list[Path]:
    """Remove half-written files, unpacked archives, plans and uploads that nobody uses any more.

    What a process uses is locked by it, so this may be called at any time; the server does at its
    start, and the doctor.

    Returns:
        What was removed.
    """
    folders = {workspace.root, workspace.root / "backups"}
    # Backups lie where people have said.
    for job in list_jobs(engine, kinds=["backup"], limit=None):
        folders.add(Path(str(job.options.get("path", ""))).parent)
    for pattern in _IN_PROJECTS:
        folders |= set((workspace.root / "projects").glob(f"*/{pattern}"))
    removed = [path for folder in sorted(folders) for path in remove_abandoned_temporaries(folder)]
    folders_of_killed = [*remove_abandoned_unpackings(), *remove_abandoned_plans(workspace)]
    return [*removed, *folders_of_killed, *tidy_uploads(engine, workspace)]
