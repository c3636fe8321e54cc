"""The loss curve of a training that may still be running, read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracin_core.config import Workspace
from tracin_core.fitting.trainings import list_trainings


def read_curve(workspace: Workspace, slug: str) -> list[Mapping[str, Any]]:
    """Return the epochs so far of the project's training that was asked for last.

    Each has ``epoch``, ``step``, ``learning_rate``, ``train_loss`` and what the network reached
    on the test examples. The list is empty before the first epoch has ended.
    """
    trainings = list_trainings(workspace, slug)
    return list(trainings[-1].epochs) if trainings else []
