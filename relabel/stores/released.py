"""Runs whose large files are in a store alone: a note in the run's folder says where.

Whoever reads the run finds such a file through the cache.
"""

from __future__ import annotations

import json
from pathlib import Path

from relabel.errors import StoreError
from relabel.stores.address import StoreAddress, parse_address
from relabel.stores.cache import open_cache
from relabel.stores.fetch import read_checked
from relabel.stores.manifest import NOTE, Manifest
from relabel.stores.remote import RemoteFolder
from tracin_core.files import write_text

# Numbers of every example and checkpoint; what is small stays at hand.
_LARGE = "vectors-*.npy"


def release_files(folder: Path, store: StoreAddress, manifest: Manifest) -> int:
    """Remove a published run's large files from the disk; they are read from the store from now on.

    Args:
        folder: Of the run.
        store: It was published to.
        manifest: What is there.

    Returns:
        How many bytes are free by that.

    Raises:
        StoreError: If the store does not give a file back as it was published; then all stay here.
        StorageError: If the folder cannot be written.
    """
    # What is removed here is there alone: a part that was there before is known by its size only.
    remote = RemoteFolder(store.below(manifest.project, manifest.run))
    for file in manifest.files:
        if (folder / file.name).match(_LARGE):
            for _ in read_checked(remote, manifest, file):
                pass
    # The note first: a kill in between leaves files that are in both places.
    note = {"store": str(store), "manifest": manifest.to_json()}
    write_text(folder / NOTE, json.dumps(note) + "\n")
    freed = 0
    for path in sorted(folder.glob(_LARGE)):
        stored = manifest.find(path.name)
        if stored is not None and path.stat().st_size == stored.size:
            freed += stored.size
            path.unlink()
    return freed


def locate_file(path: Path, root: Path) -> Path:
    """Return where a file of a run can be read: in its folder, or else in the cache.

    Args:
        path: Of the file in the run's folder.
        root: The run's folder, ``WORKSPACE/projects/SLUG/runs/KEY``.

    Raises:
        StoreError: If it is in a store, and cannot be read there.
        StorageError: If the cache's disk is full.
    """
    note = root / NOTE
    if path.exists() or not note.exists():
        return path
    try:
        values = json.loads(note.read_text("utf-8"))
        store = parse_address(values["store"])
        manifest = Manifest.from_json(values["manifest"], str(note))
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise StoreError(
            f"{note} cannot be used ({type(error).__name__}); expected where the run is stored. "
            "Fetch the run again with `fetch`, or score the project again."
        ) from error
    stored = manifest.find(path.relative_to(root).as_posix())
    if stored is None:
        return path
    return open_cache(root.parents[3]).get(store, manifest, stored)
