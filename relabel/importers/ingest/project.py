"""Import data: a new project, or more examples for one that exists; all of it or nothing.

The data is read twice: once to decide about every example by a few bytes of each, once to store
those that are kept (``store_examples``). Where a preview has read it, its plan is carried out,
unless the file was written to since. Everything is written into a folder that nobody looks at;
when it is whole, pictures and truth take their places, and the examples enter the database unseen,
to be shown by its last step. A process that is killed before that leaves a folder and rows that
the next import removes.

``ImportReport`` is what an import did, for the terminal, the job table and the pages. Examples
that were imported by a version that kept no places get theirs when they come again
(``backfill_source_paths``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine

from relabel.db.bulk import (
    FoundPlace,
    NewProject,
    enter_growth,
    enter_project,
    fill_places,
    lacks_places,
    next_positions,
    settle_entries,
)
from relabel.db.examples import LONGEST_PLACE
from relabel.db.project_rules import Project, check_slug
from relabel.db.projects import find_project
from relabel.features.records import content_key
from relabel.files import explain_disk_errors
from relabel.importers.classes import UNKNOWN_TRUTH, Plan
from relabel.importers.columns.values import ascii_escaped
from relabel.importers.files.shared import FileState, measure_files, read_state, share_open_files
from relabel.importers.ingest.growth import check_same_kind, describe_columns
from relabel.importers.ingest.kept_plans import RecalledPlan, recall_plan
from relabel.importers.ingest.planned import PlannedImport, SurveyedSource
from relabel.importers.ingest.staging import (
    Staging,
    check_folder_is_free,
    open_staging,
    place_files,
    remove_batch,
    remove_leftovers,
    remove_own_leftovers,
)
from relabel.importers.ingest.truth import TruthWriter
from relabel.importers.options import ImportOptions
from relabel.importers.plan import CHANGED_ANSWER, CHANGED_CONTENT, WAYS
from relabel.importers.preview import describe_target, open_for, plan_import, survey_for
from relabel.importers.readers.table import TableSource
from relabel.importers.records import Problem, Source, SourceRecord
from relabel.importers.scan import Survey, hash_key
from relabel.locks import wait_for_project
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.text import SPLITS, Split, counted
from relabel.workspace import Workspace
from tracin_core.errors import InputError
from tracin_core.files import expand_path, naming

_REPORTED_EVERY = 256  # examples
PLACING = "noting where the known examples are"
# Rows a transaction: short, so that a person's decision need not wait.
_CHUNK = 1000
FILE_CHANGED = (
    "The file was written to after it had been shown, so it was read and planned anew: what was "
    "imported may differ from what was shown."
)
WRITING, ENTERING = "writing the examples", "entering the examples"


def store_examples(
    source: Source,
    survey: Survey,
    plan: Plan,
    staging: Staging,
    *,
    batch: str,
    positions: Mapping[Split, int],
    on_progress: Callable[[int, int], None],
) -> None:
    """Write the kept examples, their pictures and their truth into the staging folder.

    Args:
        source: Read once more.
        survey: What the first reading found.
        plan: What was decided.
        staging: Where everything goes.
        batch: Folder of the pictures below the project's media folder.
        positions: Of the next example of each split.
        on_progress: Told how many examples are done, of how many.

    Raises:
        InputError: If the data has changed since the first reading.
    """
    following = dict(positions)
    total = int(plan.kept.sum())
    done = 0
    truth = TruthWriter(staging.truth) if _has_truth(plan) else None
    try:
        with naming(staging.examples), staging.examples.open("w", encoding="utf-8") as file:
            for number, key, record in _kept_records(source, survey, plan):
                split = SPLITS[plan.splits[number]]
                row = {"key": key, "split": split, "position": following[split]}
                row |= _describe(record, plan, number, staging, batch)
                following[split] += 1
                file.write(json.dumps(row) + "\n")
                if truth is not None:
                    _add_truth(truth, key, plan, number)
                done += 1
                if done % _REPORTED_EVERY == 0:
                    on_progress(done, total)
    finally:
        if truth is not None:
            truth.close()
    on_progress(total, total)


def _kept_records(
    source: Source, survey: Survey, plan: Plan
) -> Iterator[tuple[int, str, SourceRecord]]:
    """Yield the records that are kept, with their numbers in the survey and their keys.

    Records are recognised by their place: an image that was refused the first time is met again.
    """
    number = 0
    last = len(survey)
    for record in source.records(check_pixels=0):
        if not isinstance(record, SourceRecord):
            continue
        if number < last and survey.rows[number] == record.row:
            if plan.kept[number]:
                key = record.key()
                _check_unchanged(record.where, key, survey, number)
                yield number, key, record
            number += 1
    if number < last:
        raise _changed(f"it ended after {number:,} of {last:,} examples")


def _check_unchanged(where: str, key: str, survey: Survey, number: int) -> None:
    if survey.digests[number].tobytes() != hash_key(key):
        raise _changed(f"{where} is no longer the same")


def _changed(found: str) -> InputError:
    return InputError(
        f"The data changed while it was read: {found}. Expected data that nobody writes to. "
        "Nothing was imported; import it again."
    )


def _describe(
    record: SourceRecord, plan: Plan, number: int, staging: Staging, batch: str
) -> dict[str, Any]:
    """Return label and content as ``NewExample`` takes them, the picture written."""
    row: dict[str, Any] = {"source_place": name_place(record)}
    if plan.classes:
        row["given_label"] = int(plan.labels[number])
    else:
        row["given_value"] = float(plan.values[number])
    if record.text is not None:
        row["text"], row["fields"] = record.text, record.fields
    elif record.fields is not None:
        row["fields"] = record.fields
    elif record.image is not None:
        data, suffix = record.image.to_file()
        digest = content_key(record.image.hashed())
        row["media_path"] = f"{batch}/{staging.store_image(data, digest, suffix)}"
    return row


def name_place(record: SourceRecord) -> str:
    """Return where an example is in the person's data, as both databases can hold it.

    Of a place that is too long the end is kept, which is a file's name or a row's number.
    """
    place = ascii_escaped(record.place or record.where).replace("\0", "\\0")
    return place if len(place) <= LONGEST_PLACE else "…" + place[1 - LONGEST_PLACE :]


def _has_truth(plan: Plan) -> bool:
    known = plan.true_labels != UNKNOWN_TRUTH if plan.classes else ~np.isnan(plan.true_values)
    return bool((known & plan.kept).any())


def _add_truth(truth: TruthWriter, key: str, plan: Plan, number: int) -> None:
    planted = WAYS[plan.ways[number]]
    if plan.classes:
        label = int(plan.true_labels[number])
        if label != UNKNOWN_TRUTH:
            truth.add(key, label=label, planted=planted)
    else:
        value = float(plan.true_values[number])
        if not np.isnan(value):
            truth.add(key, value=value, planted=planted)


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes:
        slug: The project.
        created: Whether it is new.
        added: Examples added by split.
        skipped_known: Examples that the project had already.
        changed: Of those, the findings that label or content is another one in the data; the
            project keeps what it has.
        duplicates: Examples left out because the same one came before in the data.
        refused: The first problems, findings included; all are counted in ``problem_counts``.
        num_refused: Examples that could not be used.
        problem_counts: Number of problems by what is wrong.
        classes_added: New classes of a project that existed.
        num_planted: Labels or numbers that were made wrong on purpose.
        notes: What a person should know of how it went.
        seconds: How long it took.
    """

    slug: str
    created: bool
    added: Mapping[str, int]
    skipped_known: int
    duplicates: int
    changed: int = 0
    refused: tuple[Problem, ...] = ()
    num_refused: int = 0
    problem_counts: Mapping[str, int] = field(default_factory=dict)
    classes_added: tuple[str, ...] = ()
    num_planted: int = 0
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON."""
        problems = [
            {"row": p.row, "where": p.where, "message": p.message, "what": p.what}
            for p in self.refused
        ]
        plain = {
            "added": dict(self.added),
            "problem_counts": dict(self.problem_counts),
            "classes_added": list(self.classes_added),
            "notes": list(self.notes),
        }
        return {**vars(self), "refused": problems, **plain}


def make_report(
    slug: str,
    created: bool,
    survey: Survey,
    plan: Plan,
    seconds: float,
    notes: tuple[str, ...] = (),
) -> ImportReport:
    """Sum up an import."""
    counts = survey.problems.counts + plan.problems.counts
    return ImportReport(
        slug=slug,
        created=created,
        added=plan.counts(),
        skipped_known=plan.num_known,
        duplicates=plan.duplicates,
        changed=counts[CHANGED_ANSWER] + counts[CHANGED_CONTENT],
        refused=(*survey.problems.kept, *plan.problems.kept),
        num_refused=survey.problems.num_refused,
        problem_counts=dict(counts.most_common()),
        classes_added=plan.classes_added,
        num_planted=int((plan.ways != 0).sum()),
        notes=notes,
        seconds=seconds,
    )


def backfill_source_paths(
    engine: Engine, project_id: int, source: Source, total: int, on_progress: OnProgress
) -> None:
    """Fill in the places of a project's examples that have none, by reading the data once more.

    Nothing else of them is touched, and a place that is known stays.

    Args:
        engine: The database.
        project_id: The project.
        source: The data.
        total: Examples in it.
        on_progress: Told after every chunk; what it raises ends the work, and what is filled in
            stays.
    """
    if not lacks_places(engine, project_id):
        return
    done = 0
    found = _find_places(source)
    while chunk := list(islice(found, _CHUNK)):
        fill_places(engine, project_id, chunk)
        done += len(chunk)
        on_progress(Progress(PLACING, min(done, total), total))


def _find_places(source: Source) -> Iterator[FoundPlace]:
    for record in source.records(check_pixels=0):
        if isinstance(record, SourceRecord):
            yield FoundPlace(record.key(), record.split, name_place(record))


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
    with share_open_files():
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
        explain_disk_errors(workspace.root),
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
            backfill_source_paths(
                engine, project.id, surveyed.source, len(surveyed.survey), on_progress
            )
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
    entry: dict[str, Any] = {
        "path": str(path.expanduser().resolve()),
        "format": source.format,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "added": plan.counts(),
        "options": options,
    }
    files = source.files if isinstance(source, TableSource) else ()
    if files:  # so that they can be given back: they must be the same ones then
        entry["file"] = measure_files(files)
        entry["file"]["name"] = ascii_escaped(entry["file"]["name"])
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
    with open_staging(workspace, new.slug) as staging:
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
