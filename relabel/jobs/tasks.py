"""The table of tasks: what each kind of job does, and how its stages share the time.

Imports of torch stand inside of the functions that need it, because the server reads this table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from relabel.db.runs import Run
from relabel.errors import JobError
from relabel.progress import OnProgress, Progress
from relabel.runs.config import name_last_layer
from relabel.sandbox import limit_memory
from relabel.workspace import Workspace
from tracin_core.errors import TracInError

if TYPE_CHECKING:
    from relabel.db.project_rules import Project
    from relabel.runs.held_out import HeldOutSummary
    from relabel.triage.model_quality import ModelJudgement

_LOGGER = logging.getLogger(__name__)
_READING = {"reading": 2.0, "encoding": 5.0, "computing the features": 15.0}
_SCORING = {
    "scoring the train": 30.0,
    "scoring the test": 6.0,
    "grouping what is alike": 3.0,
    "building the indexes": 4.0,
    "entering": 3.0,
}


@dataclass(frozen=True, kw_only=True)
class TaskContext:
    """What the work of a job is given.

    Attributes:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project, which need not exist for an import.
        options: The job's options, plain JSON.
        on_progress: To be told about every step; what it raises ends the work.
    """

    engine: Engine
    workspace: Workspace
    slug: str
    options: Mapping[str, Any]
    on_progress: OnProgress


TaskFunction = Callable[[TaskContext], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One kind of job.

    Attributes:
        work: Does it, and returns what is worth keeping, plain JSON.
        stage_shares: Beginnings of its stages' names with their parts of the time, a guess that
            keeps the bar from jumping.
        needs_project: Whether the project must be there before.
    """

    work: TaskFunction
    stage_shares: Mapping[str, float]
    needs_project: bool = True


_TASKS: dict[str, TaskSpec] = {}


def register_task(name: str, spec: TaskSpec) -> None:
    """Make a kind of job known to this process."""
    _TASKS[name] = spec


def find_task(name: str) -> TaskSpec:
    """Return a kind of job.

    Raises:
        JobError: If there is none of this name.
    """
    if name not in _TASKS:
        raise JobError(
            f"Found a job of the kind {name!r}. Expected one of {', '.join(sorted(_TASKS))}. It "
            "may come from a newer version of this program: update it, or start the job again."
        )
    return _TASKS[name]


def _train(context: TaskContext) -> dict[str, Any]:
    from relabel.fitting.options import WorkOptions
    from relabel.scoring.project import train_project

    options = {**context.options, "run_my_code": read_consent(context.options)}
    then_score = options.pop("then_score", True)
    place = (context.engine, context.workspace, context.slug)
    training = train_project(
        *place, WorkOptions.from_json(options), on_progress=context.on_progress
    )
    result: dict[str, Any] = {"training": Path(training).name}
    result |= _describe_training(context, Path(training))
    return result | (_score(context) if then_score else {})


def _describe_training(context: TaskContext, folder: Path) -> dict[str, Any]:
    """Return how a training went and what is to be said about its model, as sentences."""
    from relabel.fitting.saved import list_trainings
    from relabel.runs.held_out import read_reason, read_summary
    from relabel.triage.model_quality import UnseenLabels, judge_quality

    trainings = list_trainings(context.workspace, context.slug)
    info = next((one for one in trainings if one.folder.name == folder.name), None)
    if info is None:
        return {}
    unseen, summary = None, read_summary(folder)
    if summary is not None:
        is_regression = bool(info.quality.get("is_regression"))
        seen = None if is_regression else info.quality.get("train_measure")
        unseen = UnseenLabels(
            summary=summary, network=info.model, seen=seen, is_regression=is_regression
        )
    judged = judge_quality(info.quality, unseen, read_reason(folder))
    return {"course": judged.course} | _list_sentences(judged, summary)


def _list_sentences(judged: ModelJudgement, summary: HeldOutSummary | None) -> dict[str, Any]:
    notes = () if summary is None else summary.notes
    return {"warnings": list(judged.warnings), "unseen": [*judged.unseen, *notes]}


def read_consent(options: Mapping[str, Any]) -> str | bool:
    """Return the digest of the person's file that was agreed to, or False.

    A yes alone is none here: the file may have changed since it was said.
    """
    agreed = options.get("run_my_code", False)
    return agreed if isinstance(agreed, str) else False


def _score(context: TaskContext) -> dict[str, Any]:
    from relabel.fitting.options import WorkOptions
    from relabel.scoring.project import score_project

    options = {**context.options, "run_my_code": read_consent(context.options)}
    options.pop("then_score", None)
    run = score_project(
        context.engine,
        context.workspace,
        context.slug,
        WorkOptions.from_json(options),
        on_progress=context.on_progress,
    )
    return {
        "run": run.key,
        "last_layer": name_last_layer(run.config.get("layers")),
        **_judge(context, run),
    }


def _judge(context: TaskContext, run: Run) -> dict[str, Any]:
    """Return what is to be said about the model of a run, as sentences."""
    from relabel.db.projects import get_project
    from relabel.runs.held_out import recall_summary
    from relabel.triage.model_quality import judge_run

    project = get_project(context.engine, context.slug)
    judged = judge_run(context.engine, project, run)
    return _list_sentences(judged, recall_summary(run.config))


def _rescore(context: TaskContext) -> dict[str, Any]:
    from relabel.scoring.project import rescore_project

    rescored = rescore_project(
        context.engine,
        context.workspace,
        context.slug,
        run_my_code=read_consent(context.options),
        on_progress=context.on_progress,
    )
    run = rescored.run
    return {
        "run": run.key,
        "last_layer": name_last_layer(run.config.get("layers")),
        "examples_computed": rescored.examples_computed,
        **_judge(context, run),
    }


def _import(context: TaskContext) -> dict[str, Any]:
    from relabel.importers.files.shared import FileState
    from relabel.importers.ingest.project import import_project
    from relabel.importers.options import ImportOptions

    options = context.options
    with limit_memory(options["path"]):
        report = import_project(
            context.engine,
            context.workspace,
            context.slug,
            Path(options["path"]),
            ImportOptions.from_json(options.get("options", {})),
            title=options.get("title"),
            description=options.get("description", ""),
            strict=options.get("strict", False),
            kept_plan=Path(kept) if (kept := options.get("kept_plan")) else None,
            seen=FileState(**seen) if (seen := options.get("seen")) else None,
            on_progress=context.on_progress,
        )
    return report.to_json()


def _measure_gain(context: TaskContext) -> dict[str, Any]:
    from relabel.db.projects import get_project
    from relabel.worth.gain.labels import read_audited
    from relabel.worth.gain.measure import measure_gain
    from relabel.worth.gain.options import GainOptions
    from relabel.worth.gain.words import describe_gain

    project = get_project(context.engine, context.slug)
    gain = measure_gain(
        context.engine,
        context.workspace,
        context.slug,
        GainOptions.from_json(context.options),
        on_progress=context.on_progress,
        audited=read_audited(context.engine, project.id),
    )
    return {"gain": describe_gain(gain), "made_at": gain.made_at}


def _compare(context: TaskContext) -> dict[str, Any]:
    from relabel.comparison.measure import compare_methods
    from relabel.comparison.options import CompareOptions

    options = dict(context.options)
    agreed = read_consent(options)
    options.pop("run_my_code", None)
    comparison = compare_methods(
        context.engine,
        context.workspace,
        context.slug,
        CompareOptions.from_json(options),
        run_my_code=agreed,
        on_progress=context.on_progress,
    )
    failed = {one.name: one.reason for one in comparison.outcomes if one.reason}
    return {"compared": list(comparison.scores), "failed": failed}


def _backup(context: TaskContext) -> dict[str, Any]:
    from relabel.projects.backup import backup_project

    path = backup_project(
        context.engine,
        context.workspace,
        context.slug,
        Path(context.options["path"]),
        with_trainings=context.options.get("with_trainings", False),
        on_progress=context.on_progress,
    )
    return {"path": str(path), "bytes": path.stat().st_size}


def _restore(context: TaskContext) -> dict[str, Any]:
    from relabel.projects.restore import restore_project

    with limit_memory(f"The backup {context.options['path']}"):
        project = restore_project(
            context.engine,
            context.workspace,
            Path(context.options["path"]),
            slug=context.slug,
            on_progress=context.on_progress,
        )
        _build_indexes(context, project)
    return {"project": project.slug}


def _build_indexes(context: TaskContext, project: Project) -> None:
    """Build the indexes of all runs, which no backup has; without them search is exact, slower."""
    from relabel.runs.folder import RunFolder
    from relabel.triage.evidence import mend_indexes

    stage = "building the indexes"
    runs = context.workspace.project_folder(project.slug) / "runs"
    for folder in sorted(runs.iterdir()) if runs.is_dir() else ():
        try:
            mend_indexes(
                RunFolder(folder),
                lambda done, total: context.on_progress(Progress(stage, done, total)),
            )
        except TracInError as error:
            # The project is back, and works; doctor says what is wrong with its run.
            _LOGGER.warning("The index of the run %s was not built: %s", folder.name, error)


register_task(
    "import",
    TaskSpec(
        work=_import,
        stage_shares={"reading": 3, "writing": 6, "entering": 1},
        needs_project=False,
    ),
)
register_task(
    "train",
    TaskSpec(
        work=_train,
        stage_shares={
            "reading": 2,
            "encoding": 5,
            "computing the features": 15,
            "counting words": 1,
            "asking models": 20,  # after the training where the person named the network
            "training": 25,
            "continuing": 25,
            **_SCORING,
        },
    ),
)
register_task(
    "score",
    TaskSpec(
        work=_score,
        # Beside checkpoints of a person's own, models are asked that have not seen the examples.
        stage_shares={**_READING, "counting words": 1, "asking models": 10, **_SCORING},
    ),
)
register_task(
    "rescore",
    TaskSpec(
        work=_rescore,
        stage_shares={**_READING, **_SCORING},
    ),
)
register_task(
    "gain",
    TaskSpec(
        work=_measure_gain,
        stage_shares={**_READING, "counting words": 3, "training on the labels": 75.0},
    ),
)
register_task("compare", TaskSpec(work=_compare, stage_shares={**_READING, "comparing": 75.0}))
register_task(
    "backup", TaskSpec(work=_backup, stage_shares={"writing the rows": 3, "writing the files": 7})
)
register_task(
    "restore",
    TaskSpec(
        work=_restore,
        stage_shares={"unpacking the files": 4, "entering the rows": 5, "building the indexes": 1},
        needs_project=False,
    ),
)
