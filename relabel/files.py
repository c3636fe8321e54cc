"""Files of the application: exports, folders that are removed, words about a full disk."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from relabel.errors import WorkspaceError
from tracin_core.files import (
    atomic_file,
    describe_limit,
    describe_special,
    find_reason,
    translate_disk_errors,
)

if TYPE_CHECKING:
    import numpy.typing as npt

# What the engine has and the application reads from here as well.


def explain_disk_errors(folder: Path) -> AbstractContextManager[None]:
    """Turn a full disk or a missing permission into a message with the next step.

    Args:
        folder: What was being written, named in the message.

    Raises:
        WorkspaceError: For a full, read-only or failing disk and for missing permissions.
    """
    return translate_disk_errors(
        folder, error_class=WorkspaceError, way_out="choose another folder with --workspace"
    )


def write_array(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    """Write an array as a ``.npy`` file.

    Not by ``np.save``, which hands a file to the C library and does not look whether its last
    bytes were written: on a full disk the file is cut short and nothing is said.

    Args:
        file: Open for writing, at its beginning.
        array: Of numbers.

    Raises:
        OSError: If it cannot be written.
    """
    import numpy as np

    array = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    if array.size:
        file.write(array.data)


def is_of_content(error: OSError) -> bool:
    """Return whether a file's damaged content led to an error, and neither its disk nor its name.

    Readers of archives seek to places before the file's beginning, which the system refuses
    (EINVAL), and unpackers say in words alone that they cannot go on. Whatever a disk reports has
    a number of its own (EIO, ENOSPC, ESTALE), and what has a name was refused by it.
    """
    return error.filename is None and error.errno in (None, errno.EINVAL)


def remove_temporaries(folder: Path) -> None:
    """Remove what processes killed within ``atomic_file`` have left in a folder.

    Call it only where no other process may be writing there.
    """
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it; what another process removes meanwhile is no error.

    Raises:
        OSError: If something in it may not be removed.
    """
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            time.sleep(0.001)  # others are removing it too


@contextmanager
def open_export(path: Path) -> Iterator[BinaryIO]:
    """Yield a file, in a place that a person chose, that takes its name when the block succeeds.

    Missing folders on the way are made.

    Raises:
        WorkspaceError: If it cannot be written, for instance because the disk is full; a file
            that had the name before is untouched.
    """
    special = describe_special(path)
    if special:  # a file would take the place of the device, for everybody on the machine
        raise WorkspaceError(
            f"{path} is {special}, and would be replaced. Expected the name of a file. Choose "
            "another place."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            yield file
    except OSError as error:
        reason = find_reason(error, path.parent)
        remedy = "Free some space or mend the folder's permissions"
        if reason == errno.EFBIG:
            remedy = "Raise the limit"
        raise WorkspaceError(
            f"The file {path} cannot be written: {error.strerror or error}"
            f"{describe_limit(reason)}. {remedy}, or choose another place."
        ) from error
