"""Import data: a new project, or more examples for one that exists; all of it or nothing.

The data is read twice: once to decide about every example by a few bytes of each, once to store
those that are kept. Where a preview has read it, its plan is carried out, unless the file was
written to since. Everything is written into a folder that nobody looks at; when it is whole,
pictures and truth take their places, and the examples enter the database unseen, to be shown by
its last step. A process that is killed before that leaves a folder and rows that the next import
removes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.errors import InputError
from tracin_core.files import disk_errors_explained, expand_path
from tracin_core.importing.growth import check_same_kind, describe_columns
from tracin_core.importing.kept_plans import RecalledPlan, recall_plan
from tracin_core.importing.placing import place_known
from tracin_core.importing.planned import PlannedImport, SurveyedSource
from tracin_core.importing.report import ImportReport, make_report
from tracin_core.importing.staging import (
    Staging,
    check_folder_is_free,
    place_files,
    remove_batch,
    remove_leftovers,
    remove_own_leftovers,
    staged,
)
from tracin_core.importing.storing import store_examples
from tracin_core.importing.surveying import (
    describe_target,
    open_for,
    plan_import,
    survey_for,
)
from tracin_core.numerals import counted
from tracin_core.reviews.entering import NewProject, enter_growth, enter_project
from tracin_core.reviews.grow import next_positions
from tracin_core.reviews.project_rules import check_slug
from tracin_core.reviews.projects import Project, find_project
from tracin_core.reviews.unseen import settle_entries
from tracin_core.sources import ImportOptions
from tracin_core.sources.plan_data import Plan
from tracin_core.sources.shared_files import FileState, read_state, sharing_files
from tracin_core.sources.survey import Survey
from tracin_core.terms import Split
from tracin_core.work.locking import wait_for_project
from tracin_core.work.progress import OnProgress, Progress, ignore_progress

FILE_CHANGED = (
    "The file was written to after it had been shown, so it was read and planned anew: what was "
    "imported may differ from what was shown."
)
WRITING, ENTERING = "writing the examples", "entering the examples"


def import_project(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    path: Path,
    options: ImportOptions,
    *,
    title: str | None = None,
    description: str = "",
    strict: bool = False,
    planned: PlannedImport | None = None,
    kept_plan: Path | None = None,
    seen: FileState | None = None,
    on_progress: OnProgress = ignore_progress,
) -> ImportReport:
    """Import data into a new project, or add what is new in it to one that exists.

    Args:
        engine: The database.
        workspace: Where the project's files go.
        slug: The project.
        path: The data.
        options: What the person says; the rest is found out, or recalled for growth.
        title: Name for people of a new project; its slug by default.
        description: Of a new project.
        strict: Whether any problem stops the import.
        planned: What a preview in this process has planned.
        kept_plan: Where a preview in another process has kept its plan, see ``kept_plans``.
        seen: The file's state when it was shown, where there may be no plan.
        on_progress: Told about every step; what it raises ends the import.

    Returns:
        What was done.

    Raises:
        InputError: If the data cannot be imported.
        WorkspaceError: If the disk is full, or the project's folder is taken.
        DatabaseError: If the database cannot be used.
    """
    start = time.monotonic()
    check_slug(slug)
    workspace.prepare()
    seen = seen if planned is None else planned.surveyed.state
    with sharing_files():
        if seen is not None and read_state(expand_path(path)) != seen:
            recalled = RecalledPlan(has_changed=True)
        elif planned is None and kept_plan is not None:
            known = find_project(engine, slug)
            recalled = recall_plan(kept_plan, path, options, lambda by: open_for(known, path, by))
        else:
            recalled = RecalledPlan(planned)
        return _import(
            *(engine, workspace, slug, path, options),
            recalled,
            on_progress,
            title=title,
            description=description,
            strict=strict,
            start=start,
        )


def _import(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    path: Path,
    options: ImportOptions,
    recalled: RecalledPlan,
    on_progress: OnProgress,
    *,
    title: str | None,
    description: str,
    strict: bool,
    start: float,
) -> ImportReport:
    planned = recalled.planned
    surveyed = (
        planned.surveyed
        if planned is not None
        else survey_for(engine, slug, path, options, on_progress=on_progress)
    )
    with (
        disk_errors_explained(workspace.root),
        wait_for_project(workspace, slug, on_progress),
    ):
        settle_entries(engine, slug)
        project = find_project(engine, slug)
        if project is not None:
            check_same_kind(project, surveyed.source)
        if planned is None or planned.into != describe_target(project):
            planned = plan_import(engine, workspace, project, surveyed)
        plan = planned.plan
        if strict:
            _check_no_problems(surveyed.survey, plan)
        # Before anything is added: one that is cancelled here has added nothing.
        if project is not None and plan.num_known:
            place_known(engine, project.id, surveyed.source, len(surveyed.survey), on_progress)
        if plan.kept.any():
            new = _describe_project(slug, title, description, surveyed, plan, path)
            _store(engine, workspace, project, new, surveyed, plan, on_progress)
    remove_killed_imports(engine, workspace)
    seconds = time.monotonic() - start
    notes = (FILE_CHANGED,) if recalled.has_changed else ()
    return make_report(slug, project is None, surveyed.survey, plan, seconds, notes)


def remove_killed_imports(engine: Engine, workspace: Workspace) -> list[str]:
    """Remove what imports that were killed have left, and return the projects' slugs."""

    def find_settings(slug: str) -> Mapping[str, Any] | None:
        settle_entries(engine, slug)
        project = find_project(engine, slug)
        return None if project is None else project.settings

    return remove_leftovers(workspace, find_settings)


def _check_no_problems(survey: Survey, plan: Plan) -> None:
    problems = (*survey.problems.kept, *plan.problems.kept)
    counts = survey.problems.counts + plan.problems.counts
    if counts:
        listed = ", ".join(f"{what} ({number:,})" for what, number in counts.most_common())
        first = f" The first one, {problems[0].where}: {problems[0].message}" if problems else ""
        raise InputError(
            f"Found {counted(sum(counts.values()), 'problem')}: {listed}.{first} Nothing was "
            "imported. Correct the data, or leave --strict out to import what is sound."
        )


def _describe_project(
    slug: str,
    title: str | None,
    description: str,
    surveyed: SurveyedSource,
    plan: Plan,
    path: Path,
) -> NewProject:
    source = surveyed.source
    options = source.options.to_json()
    options.pop("plant", None)
    entry = {
        "path": str(path.expanduser().resolve()),
        "format": source.format,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "added": plan.counts(),
    }
    columns = describe_columns(source)
    return NewProject(
        slug=slug,
        title=title or slug,
        kind=source.kind,
        task=source.task,
        target=source.target,
        classes=plan.classes,
        description=description,
        settings={"options": options, "imports": [entry]}
        | ({"columns": columns} if columns else {}),
    )


def _store(
    engine: Engine,
    workspace: Workspace,
    project: Project | None,
    new: NewProject,
    surveyed: SurveyedSource,
    plan: Plan,
    on_progress: OnProgress,
) -> None:
    """Write everything, then enter it; take the files away if it does not come to that."""
    remove_own_leftovers(workspace, new.slug, None if project is None else project.settings)
    if project is None:
        check_folder_is_free(workspace, new.slug)
    before = () if project is None else project.settings.get("imports", ())
    batch = f"import-{len(before) + 1:04d}"
    new.settings["imports"][0]["batch"] = batch
    positions: Mapping[Split, int] = {"train": 0, "test": 0}
    if project is not None:
        positions = next_positions(engine, project.id)
    with staged(workspace, new.slug) as staging:
        store_examples(
            surveyed.source,
            surveyed.survey,
            plan,
            staging,
            batch=batch,
            positions=positions,
            on_progress=lambda done, total: on_progress(Progress(WRITING, done, total)),
        )
        try:
            on_progress(Progress(ENTERING, 0, int(plan.kept.sum())))
            place_files(workspace, new.slug, staging, batch)
            _enter(engine, project, new, plan, staging, on_progress)
        except BaseException:
            # It may have come between the last step and its return: then the files are needed.
            if not _is_entered(engine, new.slug, batch):
                remove_batch(workspace, new.slug, batch, is_new=project is None)
            raise


def _enter(
    engine: Engine,
    project: Project | None,
    new: NewProject,
    plan: Plan,
    staging: Staging,
    on_progress: OnProgress,
) -> None:
    """Enter what was written: as a new project, or as more of one that exists."""
    total, entered = int(plan.kept.sum()), 0

    def count(number: int) -> None:
        nonlocal entered
        entered += number
        on_progress(Progress(ENTERING, entered, total))

    examples = staging.read_examples()
    if project is None:
        enter_project(engine, new, examples, count)
        return
    imports = [*project.settings.get("imports", ()), *new.settings["imports"]]
    settings = {**project.settings, "imports": imports}
    enter_growth(
        engine,
        project.id,
        classes=plan.classes,
        settings=settings,
        examples=examples,
        on_rows=count,
    )


def _is_entered(engine: Engine, slug: str, batch: str) -> bool:
    project = find_project(engine, slug)
    imports = () if project is None else project.settings.get("imports", ())
    return any(entry.get("batch") == batch for entry in imports)
