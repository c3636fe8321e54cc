"""Look into a backup in a process of its own: pages do before anybody has agreed to restore it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tracin_core.work.apart import run_apart


@dataclass(frozen=True)
class BackupSummary:
    """What a backup says of itself.

    Attributes:
        slug, title: Of the project.
        counts: Rows by table.
        total_bytes: Of all files, unpacked.
        created_at: When, ISO 8601.
    """

    slug: str
    title: str
    counts: Mapping[str, int]
    total_bytes: int
    created_at: str


def look_at_backup(path: Path) -> BackupSummary:
    """Return what is in a backup.

    Raises:
        InputError: If it is no backup, is damaged, or is made to do harm.
        WorkspaceError: If it cannot be read.
    """
    request = {"path": str(path)}
    return BackupSummary(**run_apart(f"{__name__}:summary_here", request, what=f"{path}"))


def summary_here(request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what ``look_at_backup`` asks for, in this process."""
    from tracin_core.housekeeping.restoring import read_manifest

    found = read_manifest(Path(request["path"]))
    summary = BackupSummary(
        found.slug, found.title, dict(found.counts), found.total_bytes, found.created_at
    )
    return asdict(summary)
