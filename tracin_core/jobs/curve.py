"""The loss curve of a training that may still be running, read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tracin_core.config import Workspace

_RESULT_FILE = "training.json"


def read_curve(workspace: Workspace, slug: str) -> list[dict[str, Any]]:
    """Return the epochs so far of a project's newest training, oldest first.

    Each has ``epoch``, ``step``, ``learning_rate``, ``train_loss`` and what else the training
    notes. The list is empty before the first epoch has ended.
    """
    found = sorted(
        workspace.project_folder(slug).glob(f"training/*/{_RESULT_FILE}"), key=_last_change
    )
    try:
        epochs = json.loads(found[-1].read_bytes())["epochs"] if found else []
    except (OSError, ValueError, KeyError, TypeError):
        return []  # being removed, or of another program: a screen asks again in a second
    return [epoch for epoch in epochs if isinstance(epoch, dict)]


def _last_change(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
