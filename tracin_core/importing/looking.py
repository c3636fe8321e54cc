"""Look at data as an import would, in a process of its own: the pages' way to read anything.

A page shows what a file holds before anybody has agreed to import it, and everybody shares the
server that would have to read it. So the server never does.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tracin_core.config import Workspace
from tracin_core.importing.kept_plans import KeptPlan, keep_plan, make_place
from tracin_core.importing.planned import PlannedImport, survey_data
from tracin_core.sources.backups import BackupFoundError
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.records import Column, Preview, PreviewRow, Problem
from tracin_core.sources.shared_files import FileState, sharing_files
from tracin_core.work.apart import run_apart


@dataclass(frozen=True)
class Understood:
    """What data is taken for.

    Attributes:
        preview: Of the data; for a project that exists, of what is new in it.
        num_known: Examples that the project has already; None for a new project.
        classes_added: Classes that are new to it.
        state: Of the file that was read; None for a folder.
        kept: The plan for an import that follows, as long as this object lives; None where there
            is none.
    """

    preview: Preview
    num_known: int | None = None
    classes_added: tuple[str, ...] = ()
    state: FileState | None = None
    kept: KeptPlan | None = field(default=None, compare=False)


def look_at(
    path: Path,
    options: ImportOptions,
    *,
    rows: int,
    growing: tuple[Workspace, str] | None = None,
    keep_in: Workspace | None = None,
) -> Understood:
    """Return what an import would make of data.

    Args:
        path: The data, a whole path.
        options: How it is to be understood.
        rows: Examples to show.
        growing: Workspace and slug of the project that it is to be added to.
        keep_in: Where the plan is kept for the import; None to keep none.

    Raises:
        BackupFoundError: If it is a backup of a project.
        TracInError: If the data cannot be imported like that, or needs too much memory.
    """
    request: dict[str, Any] = {"path": str(path), "options": options.to_json(), "rows": rows}
    if growing is not None:
        workspace, slug = growing
        request |= {"root": str(workspace.root), "url": workspace.database_url, "slug": slug}
    kept = None if keep_in is None else make_place(keep_in)
    if kept is not None:
        request["keep"] = str(kept.path)
    answer = run_apart(f"{__name__}:preview_here", request, what=str(path))
    if "backup" in answer:
        raise BackupFoundError(path)
    return Understood(
        preview_from_json(answer["preview"]),
        answer["num_known"],
        tuple(answer["classes_added"]),
        answer["state"] and FileState(**answer["state"]),
        kept if answer["is_kept"] else None,
    )


def look_at_columns(path: Path, options: ImportOptions) -> tuple[Column, ...]:
    """Return what columns a table file has, all without a role; nothing for other data.

    Raises:
        TracInError: If the file cannot be read as a table, or needs too much memory.
    """
    request = {"path": str(path), "options": options.to_json()}
    answer = run_apart(f"{__name__}:columns_here", request, what=str(path))
    return tuple(map(_column, answer))


def unpack_apart(path: Path, target: Path) -> Path:
    """Unpack an archive as ``sources.unpacking.unpack_archive`` does, and find its table.

    Raises:
        TracInError: If it cannot be unpacked safely, or needs too much memory.
    """
    request = {"path": str(path), "target": str(target)}
    return Path(run_apart(f"{__name__}:unpack_here", request, what=f"The archive {path.name}"))


def preview_here(request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what ``look_at`` asks for, in this process."""
    path, options = Path(request["path"]), ImportOptions.from_json(request["options"])
    try:
        with sharing_files():
            preview, planned = _plan_here(request, path, options)
    except BackupFoundError:
        return {"backup": True}
    is_growing, state = "slug" in request, planned.surveyed.state
    return {
        "preview": preview_to_json(preview),
        "num_known": planned.plan.num_known if is_growing else None,
        "classes_added": list(planned.plan.classes_added),
        "state": None if state is None else asdict(state),
        "is_kept": "keep" in request and keep_plan(planned, path, Path(request["keep"])),
    }


def columns_here(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Do what ``look_at_columns`` asks for, in this process."""
    from tracin_core.sources.table_columns import list_columns

    options = ImportOptions.from_json(request["options"])
    return [asdict(column) for column in list_columns(Path(request["path"]), options)]


def unpack_here(request: Mapping[str, Any]) -> str:
    """Do what ``unpack_apart`` asks for, in this process."""
    from tracin_core.files import disk_errors_explained
    from tracin_core.sources.opening import find_in_folder
    from tracin_core.sources.unpacking import unpack_archive

    target = Path(request["target"])
    with disk_errors_explained(target.parent):
        found = unpack_archive(Path(request["path"]), target)
    return str(found if found.is_file() else find_in_folder(found))


def _plan_here(
    request: Mapping[str, Any], path: Path, options: ImportOptions
) -> tuple[Preview, PlannedImport]:
    """Read data and plan its import, into a new project or the one of the request."""
    from tracin_core.sources import open_source
    from tracin_core.sources.plan import make_plan
    from tracin_core.sources.previewing import PREVIEW_MEGAPIXELS, describe_plan

    how_much: Any = {"rows": request["rows"], "check_pixels": PREVIEW_MEGAPIXELS}
    if "slug" not in request:
        surveyed = survey_data(path, options, lambda: open_source(path, options), **how_much)
        plan = make_plan(surveyed.source, surveyed.survey)
        return describe_plan(surveyed.source, surveyed.survey, plan), PlannedImport(surveyed, plan)
    # The database takes longer to load than most data to read, and only growth needs it.
    from tracin_core.importing.surveying import preview_import, survey_for
    from tracin_core.reviews.database import open_database

    workspace = Workspace(root=Path(request["root"]), database_url=request["url"])
    engine = open_database(workspace.database_url)
    try:
        surveyed = survey_for(engine, request["slug"], path, options, **how_much)
        return preview_import(engine, workspace, request["slug"], surveyed)
    finally:
        engine.dispose()


def preview_to_json(preview: Preview) -> dict[str, Any]:
    """Return a preview as plain JSON, pictures in base64."""
    found = {field.name: getattr(preview, field.name) for field in fields(Preview)}
    rows = [asdict(row) | {"image": _packed(row.image)} for row in preview.rows]
    return found | {
        "columns": [asdict(column) for column in preview.columns],
        "rows": rows,
        "problems": [asdict(problem) for problem in preview.problems],
        "options": preview.options.to_json(),
    }


def preview_from_json(data: Mapping[str, Any]) -> Preview:
    """Return the preview that ``preview_to_json`` described."""
    rows = tuple(PreviewRow(**row) for row in data["rows"])
    made: dict[str, Any] = {
        "columns": tuple(map(_column, data["columns"])),
        "rows": tuple(replace(row, image=_unpacked(row.image)) for row in rows),
        "problems": tuple(Problem(**problem) for problem in data["problems"]),
        "options": ImportOptions.from_json(data["options"]),
        "classes": tuple(data["classes"]),
        "notes": tuple(data["notes"]),
    }
    return Preview(**{**data, **made})


def _column(data: Mapping[str, Any]) -> Column:
    return Column(**{**data, "examples": tuple(data["examples"])})


def _packed(image: bytes | None) -> str | None:
    return None if image is None else base64.b64encode(image).decode("ascii")


def _unpacked(image: Any) -> bytes | None:
    return None if image is None else base64.b64decode(image)
