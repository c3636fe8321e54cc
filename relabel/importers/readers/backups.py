"""Recognise a backup of a project, which is no data to import, and say how it is restored."""

from __future__ import annotations

import zipfile
from pathlib import Path

from relabel.archives import DAMAGED, open_zip
from relabel.importers.files.shared import open_file
from relabel.workspace import find_program_name
from tracin_core.errors import InputError, TracInError

# As `backup` writes them; the manifest begins with the format, and both names are in no other zip.
_MANIFEST, _ROWS = "manifest.json", "rows/project.jsonl"
_FORMAT = b'"format": "tracin-project"'
_BEGINNING = 200  # bytes


class BackupFoundError(InputError):
    """A backup was given where data to import was expected."""

    def __init__(self, path: Path) -> None:
        """Describe what it is and how it comes back.

        Args:
            path: The backup.
        """
        super().__init__(
            f"{path} is a backup of a project. Expected data to import; a backup comes back whole, "
            f"with its decisions and scores. Restore it: {find_program_name()} restore "
            f"{path}, or on Projects under “Restore a backup”."
        )


def is_backup(path: Path) -> bool:
    """Return whether a file is a backup of a project, whatever it is named; nothing is unpacked."""
    try:
        if not path.is_file() or not _is_zip(path):
            return False
        with open_zip(path) as archive:
            if not {_MANIFEST, _ROWS} <= set(archive.namelist()):
                return False
            with archive.open(_MANIFEST) as file:
                return _FORMAT in file.read(_BEGINNING)
    except (TracInError, OSError, *DAMAGED):
        return False  # whoever opens it says what is wrong


def _is_zip(path: Path) -> bool:
    with open_file(path) as file:
        return zipfile.is_zipfile(file)
