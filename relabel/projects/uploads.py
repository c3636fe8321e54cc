"""Uploads in the workspace: who needs them still, and when the others go.

An upload stays while a page that shows it is open, while a job reads it, and for a day after a
job that was to take it in has failed or was cancelled, so that it can be tried again. Any other
goes ten minutes after it came.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine

from relabel.db.jobs import ACTIVE, Job, list_jobs
from relabel.db.schema import utc_now
from relabel.locks import remove_abandoned_folder
from relabel.workspace import Workspace

FOLDER = "uploads"
# Seconds: longer than a browser that has lost its connection needs to come back.
FORGOTTEN_AFTER = 600.0
RETRIED_WITHIN = timedelta(days=1)
# The kinds of jobs that read an upload.
KINDS = ("import", "restore")


def upload_folder(workspace: Workspace, path: Path) -> Path | None:
    """Return the folder that an upload lies in, or None if the path is no upload's."""
    uploads = workspace.root / FOLDER
    if not path.is_relative_to(uploads) or path == uploads:
        return None
    return uploads / path.relative_to(uploads).parts[0]


def remove_upload(workspace: Workspace, path: Path) -> None:
    """Remove an upload; a path of the person's own stays untouched."""
    folder = upload_folder(workspace, path)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def tidy_uploads(engine: Engine, workspace: Workspace) -> list[Path]:
    """Remove the uploads that have been taken in, and those that nobody needs any more.

    Returns:
        The folders of the latter.
    """
    if not (workspace.root / FOLDER).is_dir():
        return []
    needed = []
    for job in list_jobs(engine, kinds=KINDS, limit=None):
        path = Path(str(job.options.get("path", "")))
        if upload_folder(workspace, path) is None:
            continue
        if job.state == "succeeded":
            remove_upload(workspace, path)
        elif job.state in ACTIVE or _may_be_retried(job):
            needed.append(path)
    return sweep_uploads(workspace, needed)


def sweep_uploads(workspace: Workspace, needed: Collection[Path]) -> list[Path]:
    """Remove the uploads that a closed tab or a stopped server left behind, and return them.

    Args:
        workspace: Where they are.
        needed: Paths that jobs read, or may read again.
    """
    kept = {upload_folder(workspace, path) for path in needed}
    uploads = workspace.root / FOLDER
    folders: Iterable[Path] = sorted(uploads.iterdir()) if uploads.is_dir() else ()
    return [
        folder
        for folder in folders
        if folder not in kept and remove_abandoned_folder(folder, older_than=FORGOTTEN_AFTER)
    ]


def _may_be_retried(job: Job) -> bool:
    ended = job.finished_at or job.created_at
    return job.state in ("failed", "cancelled") and utc_now() - ended < RETRIED_WITHIN
