"""The demo projects of earlier runs, kept for as long as what they are made of stays the same.

They lie in the user's cache folder and not in the checkout's: another clone of the same program
needs no other demos.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from relabel.workspace import REPOSITORY_ROOT

# Whatever takes part in a build or could: another line in any of it makes them be built again.
_PACKAGES = ("tracin_core", "relabel")
MOST_KEPT = 3  # of about 30 MB each: a branch, the one it left, and what both become together


def find_cache() -> Path:
    """Return the folder of this user in which they are kept."""
    folder = user_cache_path("tracin-relabel-tests") / "demos"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def provide_demos(root: Path, cache: Path | None = None) -> None:
    """See that the demos are there: built by another process, kept by an earlier run, or built now.

    Args:
        root: The workspace; whoever comes while it is being built waits.
        cache: Where they are kept.
    """
    with FileLock(f"{root}.lock"):
        if (root / "complete").exists():
            return
        digest = digest_sources()
        if not (cache and take_copy(cache, digest, root)):
            shutil.rmtree(root, ignore_errors=True)  # of one who was killed
            command = ("-m", "relabel", "--workspace", str(root), "demo", "all")
            subprocess.run(
                [sys.executable, *command], cwd=REPOSITORY_ROOT, check=True, capture_output=True
            )
            if cache:
                keep_copy(cache, digest, root)
        (root / "complete").touch()


def digest_sources() -> str:
    """Return a digest of the program, of every installed package's version, and of the machine."""
    digest = hashlib.sha256(f"{platform.python_version()} {platform.platform()}".encode())
    for name in sorted(f"{one.name} {one.version}" for one in distributions()):
        digest.update(name.encode())
    for package in _PACKAGES:
        for path in sorted((REPOSITORY_ROOT / package).rglob("*.py")):
            digest.update(str(path.relative_to(REPOSITORY_ROOT)).encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def take_copy(cache: Path, digest: str, target: Path) -> bool:
    """Copy what is kept under this digest, and return whether there was anything.

    A copy, because tests run programs on it: what one of them leaves must not reach the next run.
    """
    with FileLock(cache / "lock"):
        if not (cache / digest).is_dir():
            return False
        shutil.copytree(cache / digest, target)
    return True


def keep_copy(cache: Path, digest: str, source: Path) -> None:
    """Keep a copy under this digest, whole or not at all, beside the newest earlier ones."""
    with FileLock(cache / "lock"):
        shutil.rmtree(cache / "unfinished", ignore_errors=True)
        kept = sorted(
            (one for one in cache.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime
        )
        for old in kept[: len(kept) + 1 - MOST_KEPT]:
            shutil.rmtree(old)
        shutil.copytree(source, cache / "unfinished")
        os.utime(cache / "unfinished")  # the copy has the time of what it was copied from
        (cache / "unfinished").rename(cache / digest)


if __name__ == "__main__":
    provide_demos(*map(Path, sys.argv[1:]))
