"""Publishing a finished run: part by part, going on where it was stopped, visible when complete."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from relabel.errors import StoreError
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.stores.address import StoreAddress
from relabel.stores.manifest import MANIFEST, NOTE, Manifest, StoredFile, StoredPart
from relabel.stores.remote import RemoteFolder

# What is in memory at a time, and what is lost at most when an upload is stopped. S3 takes it in
# one request.
PART_BYTES = 64 * 1024**2


def publish_run(
    folder: Path,
    store: StoreAddress,
    *,
    project: str,
    part_bytes: int = PART_BYTES,
    on_progress: OnProgress = ignore_progress,
) -> Manifest:
    """Write a finished run into a store, under the project's and the run's name.

    The name of a part tells its content, so parts that are there already are not written again:
    neither after a kill, nor where a run is published anew.

    Args:
        folder: Of the run, named by its key.
        store: Where to.
        project: Slug of its project.
        part_bytes: Largest size of a part.
        on_progress: Told about the bytes.

    Returns:
        What the run consists of there.

    Raises:
        StoreError: If the store cannot be used, the run is not whole here, or a file changes
            meanwhile.
    """
    if (folder / NOTE).exists():
        raise StoreError(
            f"The vectors of run {folder.name} are in a store alone; expected a run that is whole "
            "here. Bring it back with `fetch`, then publish it."
        )
    remote = RemoteFolder(store.below(project, folder.name))
    there = remote.list_sizes()
    paths = {path.relative_to(folder).as_posix(): path for path in _find_files(folder)}
    total, done = sum(path.stat().st_size for path in paths.values()), 0
    on_progress(Progress("publishing the run", 0, total))
    files = []
    for name, path in paths.items():
        parts, digest, size = [], hashlib.sha256(), path.stat().st_size
        for number, content in enumerate(_read_parts(path, part_bytes)):
            digest.update(content)
            part = _name_part(name, number, content)
            if there.get(part.name) != part.size:
                remote.write(part.name, content)
            parts.append(part)
            done += part.size
            on_progress(Progress("publishing the run", done, total))
        if sum(part.size for part in parts) != size:
            raise StoreError(
                f"{path} changed while it was published; expected a finished run. Publish it again "
                "when nothing works on the project."
            )
        files.append(
            StoredFile(name=name, size=size, sha256=digest.hexdigest(), parts=tuple(parts))
        )
    manifest = Manifest(project=project, run=folder.name, files=tuple(files))
    remote.write(MANIFEST, manifest.to_json().encode())
    remote.remove(sorted(there.keys() - manifest.parts.keys() - {MANIFEST}))
    return manifest


def _find_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a run in a fixed order; names with a dot are of unfinished work."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def _read_parts(path: Path, part_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while content := file.read(part_bytes):
            yield content


def _name_part(name: str, number: int, content: bytes) -> StoredPart:
    digest = hashlib.sha256(content).hexdigest()
    return StoredPart(
        name=f"{name}.parts/{number:05d}-{digest[:16]}", size=len(content), sha256=digest
    )
