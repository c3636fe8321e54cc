"""Files of stored runs on the local disk, no more of them than fit a limit."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock

from relabel.errors import StoreError
from relabel.stores.address import StoreAddress
from relabel.stores.fetch import fetch_file
from relabel.stores.manifest import Manifest, StoredFile
from relabel.text import format_bytes

LIMIT_VARIABLE = "TRACIN_CACHE_GB"
_DEFAULT_GB = 20.0


class StoreCache:
    """Fetches files when they are asked for, and removes those asked for longest ago.

    A file is named by its digest, so every run that has it shares it. Several processes may use
    the same folder. A file that is removed stays readable for whoever has it open or mapped.

    Args:
        folder: Made where it is missing.
        limit: Bytes of all files.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit

    def get(self, store: StoreAddress, manifest: Manifest, file: StoredFile) -> Path:
        """Return where a file of a stored run lies, fetching it first if need be.

        Raises:
            StoreError: If it is larger than the limit, missing or damaged, or the store cannot be
                used.
            StorageError: If the disk is full.
        """
        if file.size > self.limit:
            raise StoreError(
                f"The file {file.name} of run {manifest.run} has {format_bytes(file.size)}; the "
                f"cache of stored files takes {format_bytes(self.limit)}. Raise {LIMIT_VARIABLE}, "
                "or bring the whole run here with `fetch`."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / file.sha256
        with FileLock(self.folder / ".lock"):
            if not path.is_file() or path.stat().st_size != file.size:
                self._make_room(file.size)
                fetch_file(store, manifest, file, path)
            os.utime(path)  # asked for just now; times of reading are not kept on all disks
        return path

    def _make_room(self, size: int) -> None:
        """Remove files, those asked for longest ago first, until one of so many bytes fits."""
        held = sorted(
            (path.stat().st_mtime_ns, path.stat().st_size, path)
            for path in self.folder.iterdir()
            if not path.name.startswith(".")
        )
        used = sum(entry[1] for entry in held)
        for _, freed, path in held:
            if used + size <= self.limit:
                break
            path.unlink()
            used -= freed


def open_cache(workspace: Path) -> StoreCache:
    """Return the cache of a workspace, as large as the environment says.

    Raises:
        StoreError: If the environment says no number.
    """
    said = os.environ.get(LIMIT_VARIABLE, "")
    try:
        gigabytes = float(said) if said else _DEFAULT_GB
        if not 0 < gigabytes < float("inf"):
            raise ValueError(said)
    except ValueError as error:
        raise StoreError(
            f"Found {said[:40]!r} in {LIMIT_VARIABLE}; expected a number of gigabytes above 0."
        ) from error
    return StoreCache(workspace / "cache", int(gigabytes * 1e9))
