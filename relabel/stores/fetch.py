"""Reading runs from a store: those that are complete, and their files, checked by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from relabel.errors import NotFoundError, StoreError
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.stores.address import StoreAddress
from relabel.stores.manifest import MANIFEST, Manifest, StoredFile
from relabel.stores.remote import RemoteFolder
from tracin_core.files import atomic_file, translate_disk_errors


def list_runs(store: StoreAddress, project: str) -> list[str]:
    """Return the keys of a project's complete runs in a store, in order of their names.

    Raises:
        StoreError: If the store cannot be used.
    """
    names = [name.split("/") for name in RemoteFolder(store.below(project)).list_sizes()]
    return sorted(name[0] for name in names if len(name) == 2 and name[1] == MANIFEST)


def read_manifest(store: StoreAddress, project: str, run: str) -> Manifest:
    """Return what a stored run consists of.

    Raises:
        NotFoundError: If there is no complete run of that key.
        StoreError: If the store cannot be used, or the list is damaged.
    """
    address = store.below(project, run)
    content = RemoteFolder(address).read(MANIFEST)
    if content is None:
        known = ", ".join(list_runs(store, project)) or "none"
        raise NotFoundError(
            f"The store {store} has no complete run {run} of project {project}; it has: {known}. "
            "Publish it, or choose one of these."
        )
    manifest = Manifest.from_json(content, f"{address}/{MANIFEST}")
    if (manifest.project, manifest.run) != (project, run):
        raise StoreError(
            f"{address}/{MANIFEST} is that of run {manifest.run} of project {manifest.project}; "
            f"expected run {run} of {project}. Publish the run again instead of moving it."
        )
    return manifest


def fetch_file(
    store: StoreAddress,
    manifest: Manifest,
    file: StoredFile,
    target: Path,
    on_bytes: Callable[[int], None] = lambda size: None,
) -> None:
    """Write a file of a stored run to the disk; it appears when every byte of it was checked.

    Args:
        store: Where the run is.
        manifest: Of the run.
        file: One of its files.
        target: Where to; its folder is made.
        on_bytes: Told how many bytes were read, part by part.

    Raises:
        StoreError: If a part is missing or damaged, or the store cannot be used.
        StorageError: If the disk is full or may not be written.
    """
    remote = RemoteFolder(store.below(manifest.project, manifest.run))
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        translate_disk_errors(target.parent),
        atomic_file(target) as temporary,
        temporary.open("wb") as output,
    ):
        for content in read_checked(remote, manifest, file):
            output.write(content)
            on_bytes(len(content))


def read_checked(remote: RemoteFolder, manifest: Manifest, file: StoredFile) -> Iterator[bytes]:
    """Yield the parts of a stored file, each after its digest was compared.

    Raises:
        StoreError: If a part is missing or damaged, or the store cannot be used.
    """
    for part in file.parts:
        content = remote.read(part.name)
        if content is None or hashlib.sha256(content).hexdigest() != part.sha256:
            found = "is missing" if content is None else "is damaged"
            raise StoreError(
                f"The part {part.name} of run {manifest.run} in {remote.address} {found}; expected "
                f"{part.size:,} bytes of the digest that was published. Remove what is there under "
                "that name, and publish the run again from where it is whole."
            )
        yield content


def fetch_run(
    store: StoreAddress,
    manifest: Manifest,
    folder: Path,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Write all files of a stored run into a folder; those that are there and sound are kept.

    Args:
        store: Where the run is.
        manifest: Of the run.
        folder: Made where it is missing; an earlier, stopped fetch may have begun it.
        on_progress: Told about the bytes.

    Raises:
        StoreError: If a part is missing or damaged, or the store cannot be used.
        StorageError: If the disk is full or may not be written.
    """
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        on_progress(Progress("fetching the run", done, manifest.size))

    for file in manifest.files:
        target = folder / file.name
        if is_sound(target, file):
            count(file.size)
        else:
            fetch_file(store, manifest, file, target, count)


def is_sound(path: Path, file: StoredFile) -> bool:
    """Return whether a file is there with the size and the digest of a stored one."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
