"""Measured gains as files of a project: written whole, read without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from relabel.files import explain_disk_errors
from relabel.workspace import Workspace
from relabel.worth.gain.figures import Judged
from tracin_core.files import write_text

FOLDER = "worth"
# Raised when what is written means something else.
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Control:
    """How the control was made.

    Attributes:
        kind: "audit" or "decisions", as ``draw_control`` says.
        corrections: How many labels it corrected or left out, the mean over the trainings.
        rate: Share of wrong labels by the audit, 0 to 1; None without one.
        low: Lower end of its 95% interval.
        high: Upper end.
        drawn: Examples of the audit.
        capped: Whether random reviews would have found more errors than are known.
    """

    kind: str
    corrections: float
    rate: float | None = None
    low: float | None = None
    high: float | None = None
    drawn: int = 0
    capped: bool = False


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What the corrections of a project have gained.

    Attributes:
        made_at: When it was measured: UTC, ISO 8601.
        measure: "accuracy" or "r2".
        learner: "head" or "network".
        model: What was trained, for people.
        seeds: Of the trainings.
        num_train: Train examples.
        reviewed: Train examples that are decided.
        corrected: Those among them whose answer was corrected.
        excluded: Those that were excluded, which nothing learned from.
        ambiguous: Those that were marked ambiguous, whose answer stayed.
        test_reviewed: Test examples that are decided.
        test_changed: Those among them that were corrected or excluded.
        last_event: The last decision or undo that it stands for.
        control: How as many reviews at random were imitated.
        judged: By the test labels as given, and, where some were reviewed, by those in force.
        classes: Names of the classes; empty for regression.
        seconds: What it took.
    """

    made_at: str
    measure: str
    learner: str
    model: str
    seeds: tuple[int, ...]
    num_train: int
    reviewed: int
    corrected: int
    excluded: int
    ambiguous: int
    test_reviewed: int
    test_changed: int
    last_event: int
    control: Control
    judged: tuple[Judged, ...]
    classes: tuple[str, ...]
    seconds: float

    @property
    def main(self) -> Judged:
        """Return what the untouched test labels say."""
        return self.judged[0]

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` makes an equal gain of."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Gain:
        """Return the gain that ``to_json`` described.

        Raises:
            LookupError, TypeError, ValueError: If it is none.
        """
        if values["version"] != VERSION or not values["judged"]:
            raise ValueError(f"found a gain of version {values['version']!r:.20}")
        return cls(
            made_at=str(values["made_at"]),
            measure=str(values["measure"]),
            learner=str(values["learner"]),
            model=str(values["model"]),
            num_train=int(values["num_train"]),
            reviewed=int(values["reviewed"]),
            corrected=int(values["corrected"]),
            excluded=int(values["excluded"]),
            ambiguous=int(values["ambiguous"]),
            test_reviewed=int(values["test_reviewed"]),
            test_changed=int(values["test_changed"]),
            last_event=int(values["last_event"]),
            seeds=tuple(map(int, values["seeds"])),
            control=Control(**values["control"]),
            judged=tuple(Judged.from_json(one) for one in values["judged"]),
            classes=tuple(map(str, values["classes"])),
            seconds=float(values["seconds"]),
        )


def write_gain(workspace: Workspace, slug: str, digest: str, gain: Gain) -> Path:
    """Write a gain, whole or not at all, and return its place.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    path = name_gain(workspace, slug, digest)
    with explain_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(gain.to_json(), indent=1, ensure_ascii=False))
    return path


def name_gain(workspace: Workspace, slug: str, digest: str) -> Path:
    """Return where the gain of some labels and options is kept."""
    return workspace.project_folder(slug) / FOLDER / f"gain-{digest}.json"


def read_gain(path: Path) -> Gain | None:
    """Return a gain; None where there is none, or its file is damaged."""
    try:
        return Gain.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def list_gains(workspace: Workspace, slug: str) -> list[Gain]:
    """Return a project's gains, the latest first; damaged files, which can be made again, not."""
    folder = workspace.project_folder(slug) / FOLDER
    found = [read_gain(path) for path in sorted(folder.glob("gain-*.json"))]
    return sorted((one for one in found if one), key=lambda one: one.made_at, reverse=True)


def read_latest_gain(workspace: Workspace, slug: str) -> Gain | None:
    """Return the gain that was measured last; None where none was."""
    return next(iter(list_gains(workspace, slug)), None)
