"""How much disk a project takes, by what it is for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracin_core.config import Workspace
from tracin_core.numerals import describe_bytes as describe_bytes  # for those who know it from here


@dataclass(frozen=True, kw_only=True)
class DiskUse:
    """Bytes on the disk of one project's files; the database is not in it.

    Attributes:
        media: Images.
        trainings: Checkpoints, without those that a run has too.
        runs: Scores, vectors, indexes, and the checkpoints they come from.
        encoded: Examples in the form that networks read; made again when needed.
        other: The rest.
    """

    media: int = 0
    trainings: int = 0
    runs: int = 0
    encoded: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.media + self.trainings + self.runs + self.encoded + self.other


# A file with several names counts once, for the first of these that has it: what a person gets
# back by deleting the folders that come later.
_FOLDERS = {"media": "media", "runs": "runs", "training": "trainings", "encoded": "encoded"}


def measure_disk_use(workspace: Workspace, slug: str) -> DiskUse:
    """Add up a project's files; one with several names (hard links) counts once.

    Files that vanish meanwhile are left out, and links are not followed.
    """
    root = workspace.project_folder(slug)
    seen: set[tuple[int, int]] = set()
    sizes = {use: sum(_count_new(root / name, seen)) for name, use in _FOLDERS.items()}
    return DiskUse(**sizes, other=sum(_count_new(root, seen)))


def _count_new(folder: Path, seen: set[tuple[int, int]]) -> Iterator[int]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _count_new(Path(entry.path), seen)
                continue
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        place = (found.st_dev, found.st_ino)
        if place not in seen:
            seen.add(place)
            # Blocks of 512 bytes (POSIX): what a file with holes really takes.
            yield found.st_blocks * 512
