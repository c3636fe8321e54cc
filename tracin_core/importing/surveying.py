"""Read a person's data once, and say what an import would make of it, writing nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.errors import InputError
from tracin_core.files import expand_path
from tracin_core.importing.growth import check_same_kind, read_known, recall_options
from tracin_core.importing.planned import READING, PlannedImport, SurveyedSource, survey_data
from tracin_core.reviews.projects import Project, find_project
from tracin_core.sources import ImportOptions, Preview, Source, open_source
from tracin_core.sources.accepted_options import check_split_options, drop_options, name_given
from tracin_core.sources.options import OptionWithoutEffectError
from tracin_core.sources.plan import make_plan
from tracin_core.sources.previewing import describe_plan
from tracin_core.sources.survey import Survey
from tracin_core.sources.values import ascii_escaped
from tracin_core.storable import BROKEN, find_text_fault
from tracin_core.work.progress import OnProgress, Progress, ignore_progress


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
    """See that what chooses a split is not said of data for a project that has one.

    What is recalled from the project's first import may have no effect.
    """
    known = project.settings["options"]
    recalled = [n for n in ("test_share", "seed") if getattr(options, n) == known.get(n)]
    has_split = bool((survey.splits >= 0).all() and (survey.splits == 1).any())
    check_split_options(drop_options(options, recalled), has_split=has_split)


def preview_import(
    engine: Engine, workspace: Workspace, slug: str, surveyed: SurveyedSource
) -> tuple[Preview, PlannedImport]:
    """Say what will become of data that was read, also where the project exists already."""
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
    """See that a path can be noted with the project.

    Raises:
        InputError: If a name in it is bytes that are no text.
    """
    name = str(expand_path(path).resolve())
    if find_text_fault(name) == BROKEN:
        raise InputError(
            f"The path {ascii_escaped(name)} has a name in it that is no valid Unicode, which the "
            "database cannot note. Rename the file or folder; names of pictures in it may stay."
        )


def _open_recalled(path: Path, said: ImportOptions, recalled: ImportOptions) -> Source:
    try:
        return open_source(path, recalled)
    except OptionWithoutEffectError as error:
        # What the first data needed may be nothing for data of another kind: a row of names, say.
        recalled_only = set(error.names) - set(name_given(said))
        if not recalled_only:
            raise
        return _open_recalled(path, said, drop_options(recalled, recalled_only))


def open_for(project: Project | None, path: Path, options: ImportOptions) -> Source:
    """Open data as what a project, if there is one, says and remembers about it."""
    if project is None:
        return open_source(path, options)
    source = _open_recalled(path, options, recall_options(project, options))
    source.adopt_kinds({c["name"]: c["kind"] for c in project.settings.get("columns", ())})
    check_same_kind(project, source)
    return source
