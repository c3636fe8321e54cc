"""Keep the plan of a preview on the disk, for the import that follows in another process.

What is kept is some 100 bytes of each example and no content. It is used for the same file, by
size and time, read by the same options into the same project; whatever else is there, or nothing,
the import reads and plans anew, so that a lost plan costs time alone.
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import struct
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.archives import DAMAGED_ZIP
from relabel.importers.classes import Plan
from relabel.importers.files.encoding import EncodingGuesses, FoundEncoding
from relabel.importers.files.shared import FileState, read_state
from relabel.importers.ingest.planned import PlannedImport, SurveyedSource
from relabel.importers.options import ImportOptions
from relabel.importers.records import ProblemLog, Source
from relabel.importers.scan import Survey
from relabel.locks import FolderHold, remove_abandoned_folder
from relabel.workspace import Workspace
from tracin_core.errors import TracInError
from tracin_core.files import expand_path

FOLDER = "plans"  # of the workspace
_FILE = "plan.npz"
_FORM = 2  # raised when what is kept changes
_LOGGER = logging.getLogger(__name__)
# A plan that a full disk cut, or that somebody changed, costs one reading and never the import.
_UNREADABLE = (
    *(*DAMAGED_ZIP, struct.error, OSError, ValueError, LookupError, TypeError),
    *(AttributeError, OverflowError, RecursionError),
)
_Arrays = dict[str, npt.NDArray[Any]]


class KeptPlan:
    """A place for one plan, which goes with the object, or with its process.

    Attributes:
        path: The file, which whoever makes the plan writes.
    """

    def __init__(self, folder: Path) -> None:
        """Hold a folder, which exists; ``make_place`` makes one."""
        self.path = folder / _FILE
        self.remove = weakref.finalize(self, _remove, folder, FolderHold(folder))


def make_place(workspace: Workspace) -> KeptPlan | None:
    """Make a place for a plan, and remove those that killed processes have left.

    Returns:
        The place, or None where nothing can be written, as on a full disk.
    """
    remove_abandoned_plans(workspace)
    folder = workspace.root / FOLDER / secrets.token_hex(8)
    try:
        folder.mkdir(parents=True)
        return KeptPlan(folder)
    except OSError as error:
        _LOGGER.warning("No plan is kept in %s: %s", folder.parent, error)
        return None


def remove_abandoned_plans(workspace: Workspace) -> list[Path]:
    """Remove the plans whose pages are gone, and return their folders."""
    plans = workspace.root / FOLDER
    folders = sorted(plans.iterdir()) if plans.is_dir() else []
    return [folder for folder in folders if remove_abandoned_folder(folder)]


def keep_plan(planned: PlannedImport, path: Path, file: Path) -> bool:
    """Write a plan for the import that follows; return whether it can be used there.

    Args:
        planned: What was planned.
        path: The data.
        file: Where it is written.
    """
    source, state = planned.surveyed.source, planned.surveyed.state
    # The files of a folder are not looked at one by one, and a preview decodes some images only.
    if state is None or source.kind == "image":
        return False
    survey, plan = planned.surveyed.survey, planned.plan
    known = {
        "form": _FORM,
        "path": _name(path),
        "state": asdict(state),
        "said": planned.surveyed.said.to_json(),
        "found": _describe_source(planned.surveyed),
        "encoding": None
        if planned.surveyed.encoding is None
        else asdict(planned.surveyed.encoding),
        "into": planned.into,
        "survey": _plain_fields(survey, leave_out=("shown",)),
        "plan": _plain_fields(plan),
    }
    arrays = {f"survey-{name}": array for name, array in _array_fields(survey).items()}
    arrays |= {f"plan-{name}": array for name, array in _array_fields(plan).items()}
    arrays["known"] = np.frombuffer(json.dumps(known).encode(), np.uint8)
    try:
        with file.open("wb") as written:
            np.savez(written, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        # As on a full disk. The import has the same to read as if nobody had looked before.
        _LOGGER.warning("The plan of %s was not kept: %s", path, error)
        file.unlink(missing_ok=True)
        return False
    return True


@dataclass(frozen=True)
class RecalledPlan:
    """What there is of a plan that was kept.

    Attributes:
        planned: To be carried out as it is; None where it has to be made anew.
        has_changed: Whether that is because the file was written to since.
    """

    planned: PlannedImport | None = None
    has_changed: bool = False


def recall_plan(
    file: Path, path: Path, options: ImportOptions, open_by: Callable[[ImportOptions], Source]
) -> RecalledPlan:
    """Return a plan that was kept, and open its data again without surveying it.

    Args:
        file: Where the plan is, if it is still there.
        path: The data.
        options: By which it is to be imported: those that the preview found.
        open_by: Opens the data by what the person said.
    """
    try:
        known, arrays = _load(file)
        if known["form"] != _FORM or known["path"] != _name(path):
            return RecalledPlan()
        if known["found"]["options"] != options.to_json():
            return RecalledPlan()
        state = FileState(**known["state"])
        if read_state(expand_path(path)) != state:
            return RecalledPlan(has_changed=True)
        said = ImportOptions.from_json(known["said"])
        survey, plan = _read_survey(known["survey"], arrays), _read_plan(known["plan"], arrays)
        encoding = known["encoding"] and FoundEncoding(**known["encoding"])
        into = known["into"]
    except _UNREADABLE as error:
        _LOGGER.info("The plan of %s is not used again: %s", path, error)
        return RecalledPlan()
    guesses = EncodingGuesses()
    if encoding is not None:
        guesses.remember(path, encoding)
    try:
        source = guesses.run(lambda: open_by(said))
    except TracInError:
        return RecalledPlan()  # whoever opens it by the options says what is wrong
    surveyed = SurveyedSource(source, survey, said, state, encoding)
    if _describe_source(surveyed) != known["found"]:
        return RecalledPlan()
    return RecalledPlan(PlannedImport(surveyed, plan, into))


def _describe_source(surveyed: SurveyedSource) -> dict[str, Any]:
    """Return what data was taken for, plain JSON."""
    source = surveyed.source
    found = {
        "options": source.options.to_json(),
        "format": source.format,
        "kind": source.kind,
        "task": source.task,
        "target": source.target,
        "classes": source.classes,
        "columns": [asdict(column) for column in source.columns],
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _name(path: Path) -> str:
    return str(expand_path(path).resolve())


def _remove(folder: Path, hold: FolderHold) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    hold.release()


def _array_fields(found: Survey | Plan) -> _Arrays:
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def _plain_fields(found: Survey | Plan, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    arrays = _array_fields(found)
    plain = {}
    for field in fields(found):
        value = getattr(found, field.name)
        if field.name not in arrays and field.name not in leave_out:
            plain[field.name] = value.to_json() if isinstance(value, ProblemLog) else value
    return plain


def _load(file: Path) -> tuple[dict[str, Any], _Arrays]:
    # Opened here, because numpy leaves a damaged file open.
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return json.loads(arrays.pop("known").tobytes()), arrays


def _read_survey(plain: Mapping[str, Any], arrays: _Arrays) -> Survey:
    found = {name: arrays[f"survey-{name}"] for name in _names_of(arrays, "survey-")}
    return Survey(
        **found,
        names=tuple(plain["names"]),
        problems=ProblemLog.from_json(plain["problems"]),
        shown=(),
    )


def _read_plan(plain: Mapping[str, Any], arrays: _Arrays) -> Plan:
    found: dict[str, Any] = {name: arrays[f"plan-{name}"] for name in _names_of(arrays, "plan-")}
    plan = Plan(**found, **{**plain, "problems": ProblemLog.from_json(plain["problems"])})
    return replace(
        plan,
        classes=tuple(plan.classes),
        classes_added=tuple(plan.classes_added),
        repeats=[(one, other) for one, other in plan.repeats],
    )


def _names_of(arrays: _Arrays, start: str) -> list[str]:
    return [name.removeprefix(start) for name in arrays if name.startswith(start)]
