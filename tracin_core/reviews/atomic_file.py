"""Write a file so that it is there complete or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from tracin_core.errors import WorkspaceError


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which takes its name when the block ends well.

    Raises:
        WorkspaceError: If it cannot be written, for instance because the disk is full; a file
            that had the name before is untouched.
    """
    unfinished: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        unfinished = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner only; an export follows the user's usual mode.
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(path)
        unfinished = None
    except OSError as error:
        raise WorkspaceError(
            f"The file {path} cannot be written: {error.strerror or error}. Free some space or "
            "mend the folder's permissions, or choose another place."
        ) from error
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
