"""Files of a training: written whole or not at all, read without ever unpickling code."""

from __future__ import annotations

import errno
import json
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from relabel.errors import WorkspaceError
from tracin_core.checkpoints.formats import read_torch
from tracin_core.errors import CheckpointError
from tracin_core.files import atomic_file

STATE_FILE = "training-state.pt"
RESULT_FILE = "training.json"
CHECKPOINT_FOLDER = "checkpoints"


def checkpoint_path(step: int) -> str:
    """Return where a step's weights lie, relative to the run folder."""
    return f"{CHECKPOINT_FOLDER}/step-{step:06d}.pt"


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers and texts with torch, in one piece."""
    # In memory first: torch turns a full disk into "unexpected pos 704 vs 598".
    buffer = BytesIO()
    torch.save(content, buffer)
    _write_whole(path, buffer.getbuffer())


def save_json(path: Path, content: Any) -> None:
    """Write JSON, in one piece."""
    _write_whole(path, json.dumps(content, indent=1, ensure_ascii=False).encode())


def load_tensors(path: Path) -> dict[str, Any]:
    """Read what ``save_tensors`` wrote.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds anything but plain data.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd pickle protocol: refused or read, but silent
            content = read_torch(path, may_map=False)  # the next epoch writes it anew
    except (CheckpointError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({_summarise(error)}), expected weights that "
            "this program saved. Delete the run's folder and train again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, expected a dictionary with weights. "
            "Delete the run's folder and train again."
        )
    return content


def load_json(path: Path) -> Any:
    """Read what ``save_json`` wrote.

    Raises:
        CheckpointError: If the file cannot be read.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}), expected the record of a training. "
            "Delete the run's folder and train again."
        ) from error


def _summarise(error: Exception) -> str:
    """Return the first line of an error; torch's can be pages long, and some have none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write beside the file and rename, so that a kill leaves the old file or the new one.

    Raises:
        WorkspaceError: If the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as unfinished:
            unfinished.write_bytes(data)
    except OSError as error:
        found = "the disk is full" if error.errno == errno.ENOSPC else _summarise(error)
        raise WorkspaceError(
            f"{path} cannot be written: {found}. Free some space or mend the folder's "
            "permissions; the training then goes on from its last finished epoch."
        ) from error
