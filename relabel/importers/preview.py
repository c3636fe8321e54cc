"""Preview an import: read the data once and describe what would be made of it, writing nothing.

Pages call the functions that end with ``_apart``, which read in a subprocess: nobody has agreed to
import the file yet, and everybody shares the server that would have to read it. Those that end
with ``_in_process`` are what the subprocess runs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from relabel.db.project_rules import Project
from relabel.db.projects import find_project
from relabel.importers.accepted_options import check_split_options, drop_options, name_given
from relabel.importers.base import describe_plan
from relabel.importers.columns.values import ascii_escaped
from relabel.importers.detect import open_source
from relabel.importers.files.shared import FileState, share_open_files
from relabel.importers.ingest.growth import check_same_kind, read_known, recall_options
from relabel.importers.ingest.kept_plans import KeptPlan, keep_plan, make_place
from relabel.importers.ingest.planned import READING, PlannedImport, SurveyedSource, survey_data
from relabel.importers.options import ImportOptions, OptionWithoutEffectError
from relabel.importers.plan import make_plan
from relabel.importers.readers.backups import BackupFoundError
from relabel.importers.records import Column, Preview, PreviewRow, Problem, Source
from relabel.importers.scan import Survey
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.sandbox import run_apart
from relabel.text import BROKEN, find_text_fault
from relabel.workspace import Workspace
from tracin_core.errors import InputError
from tracin_core.files import expand_path


def survey_for(
    engine: Engine,
    slug: str,
    path: Path,
    options: ImportOptions,
    *,
    rows: int = 0,
    check_pixels: float = float("inf"),
    on_progress: OnProgress = ignore_progress,
) -> SurveyedSource:
    """Open data as an import into a project would, and read it once.

    Args:
        engine: The database.
        slug: The project, which need not exist; if it does, its columns are recalled.
        path: The data.
        options: What the person says.
        rows: Examples to keep for a preview.
        check_pixels: Millions of image pixels to decode at most; for an import, all.
        on_progress: Told how far the reading is.

    Raises:
        InputError: If the data cannot be imported, or not into this project.
    """
    _check_is_text(path)
    if options.image_root is not None:
        _check_is_text(Path(options.image_root))
    project = find_project(engine, slug)
    surveyed = survey_data(
        path,
        options,
        lambda: open_for(project, path, options),
        rows=rows,
        check_pixels=check_pixels,
        on_progress=on_progress,
    )
    if project is not None:
        _check_split_is_used(project, options, surveyed.survey)
    num_read = len(surveyed.survey) + surveyed.survey.problems.num_refused
    on_progress(Progress(READING, num_read, num_read))
    return surveyed


def _check_split_is_used(project: Project, options: ImportOptions, survey: Survey) -> None:
    """Check that what chooses a split is not said of data for a project that has one.

    What is recalled from the project's first import may have no effect.
    """
    known = project.settings["options"]
    recalled = [n for n in ("test_share", "seed") if getattr(options, n) == known.get(n)]
    has_split = bool((survey.splits >= 0).all() and (survey.splits == 1).any())
    check_split_options(drop_options(options, recalled), has_split=has_split)


def preview_import(
    engine: Engine, workspace: Workspace, slug: str, surveyed: SurveyedSource
) -> tuple[Preview, PlannedImport]:
    """Describe what will become of data that was read, also where the project exists already."""
    planned = plan_import(engine, workspace, find_project(engine, slug), surveyed)
    return describe_plan(surveyed.source, surveyed.survey, planned.plan), planned


def plan_import(
    engine: Engine, workspace: Workspace, project: Project | None, surveyed: SurveyedSource
) -> PlannedImport:
    """Decide what will become of data that was read, in a project or a new one."""
    known = None if project is None else read_known(engine, workspace, project)
    plan = make_plan(surveyed.source, surveyed.survey, known)
    return PlannedImport(surveyed, plan, describe_target(project))


def describe_target(project: Project | None) -> dict[str, Any] | None:
    """Return what a plan depends on in a project, plain JSON: its imports alone add examples."""
    if project is None:
        return None
    imports = [dict(entry) for entry in project.settings.get("imports", ())]
    return {"id": project.id, "classes": list(project.classes), "imports": imports}


def _check_is_text(path: Path) -> None:
    """Check that a path can be noted with the project.

    Raises:
        InputError: If a name in it is bytes that are no text.
    """
    name = str(expand_path(path).resolve())
    if find_text_fault(name) == BROKEN:
        raise InputError(
            f"The path {ascii_escaped(name)} has a name in it that is no valid Unicode, which the "
            "database cannot note. Rename the file or folder; names of pictures in it may stay."
        )


def open_recalled(path: Path, said: ImportOptions, recalled: ImportOptions) -> Source:
    """Open data by what is remembered of other data, as far as that has an effect on it.

    Args:
        path: The data.
        said: What a person says of it.
        recalled: The same with what is remembered.

    Raises:
        InputError: If it cannot be opened, or something that was said has no effect.
    """
    try:
        return open_source(path, recalled)
    except OptionWithoutEffectError as error:
        # What the first data needed may be nothing for data of another kind: a row of names, say.
        recalled_only = set(error.names) - set(name_given(said))
        if not recalled_only:
            raise
        return open_recalled(path, said, drop_options(recalled, recalled_only))


def open_for(project: Project | None, path: Path, options: ImportOptions) -> Source:
    """Open data as what a project, if there is one, says and remembers about it."""
    if project is None:
        return open_source(path, options)
    source = open_recalled(path, options, recall_options(project, options))
    source.adopt_kinds({c["name"]: c["kind"] for c in project.settings.get("columns", ())})
    check_same_kind(project, source)
    return source


@dataclass(frozen=True)
class ImportPreview:
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


def preview_apart(
    path: Path,
    options: ImportOptions,
    *,
    rows: int,
    growing: tuple[Workspace, str] | None = None,
    keep_in: Workspace | None = None,
) -> ImportPreview:
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
    answer = run_apart(f"{__name__}:preview_in_process", request, what=str(path))
    if "backup" in answer:
        raise BackupFoundError(path)
    return ImportPreview(
        preview_from_json(answer["preview"]),
        answer["num_known"],
        tuple(answer["classes_added"]),
        answer["state"] and FileState(**answer["state"]),
        kept if answer["is_kept"] else None,
    )


def list_columns_apart(path: Path, options: ImportOptions) -> tuple[Column, ...]:
    """Return what columns a table file has, all without a role; nothing for other data.

    Raises:
        TracInError: If the file cannot be read as a table, or needs too much memory.
    """
    request = {"path": str(path), "options": options.to_json()}
    answer = run_apart(f"{__name__}:list_columns_in_process", request, what=str(path))
    return tuple(map(_column, answer))


def unpack_archive_apart(path: Path, target: Path) -> Path:
    """Unpack an archive as ``unpack_archive`` does, and find its table.

    Raises:
        TracInError: If it cannot be unpacked safely, or needs too much memory.
    """
    request = {"path": str(path), "target": str(target)}
    return Path(
        run_apart(f"{__name__}:unpack_in_process", request, what=f"The archive {path.name}")
    )


def preview_in_process(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to ``preview_apart``, made in this process."""
    path, options = Path(request["path"]), ImportOptions.from_json(request["options"])
    try:
        with share_open_files():
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


def list_columns_in_process(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the answer to ``list_columns_apart``, made in this process."""
    from relabel.importers.detect import list_columns

    options = ImportOptions.from_json(request["options"])
    return [asdict(column) for column in list_columns(Path(request["path"]), options)]


def unpack_in_process(request: Mapping[str, Any]) -> str:
    """Unpack for ``unpack_archive_apart``, in this process, and return what is to be imported."""
    from relabel.files import explain_disk_errors
    from relabel.importers.detect import find_in_folder
    from relabel.importers.files.trees import unpack_archive

    target = Path(request["target"])
    with explain_disk_errors(target.parent):
        found = unpack_archive(Path(request["path"]), target)
    return str(found if found.is_file() else find_in_folder(found))


def _plan_here(
    request: Mapping[str, Any], path: Path, options: ImportOptions
) -> tuple[Preview, PlannedImport]:
    """Read data and plan its import, into a new project or the one of the request."""
    from relabel.importers.base import PREVIEW_MEGAPIXELS, describe_plan
    from relabel.importers.detect import open_source
    from relabel.importers.plan import make_plan

    how_much: Any = {"rows": request["rows"], "check_pixels": PREVIEW_MEGAPIXELS}
    if "slug" not in request:
        surveyed = survey_data(path, options, lambda: open_source(path, options), **how_much)
        plan = make_plan(surveyed.source, surveyed.survey)
        return describe_plan(surveyed.source, surveyed.survey, plan), PlannedImport(surveyed, plan)
    from relabel.db.engine import open_database

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
