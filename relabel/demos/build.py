"""Build a demo project: data, media, training, scoring, registration; resumable everywhere.

The examples are made from the installation once and read back from the project afterwards. Each
stage appears whole or not at all and is skipped when it is there, so a build that was killed at any
moment goes on from its last finished stage. The project enters the database with all of its
examples, and its run when that is complete.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Engine

from relabel.db.engine import open_database
from relabel.db.examples import NewExample, add_examples
from relabel.db.project_rules import Project
from relabel.db.projects import create_project, find_project, get_project
from relabel.db.runs import current_run
from relabel.demos import load_demo
from relabel.features.records import DemoData, DemoExample
from relabel.files import explain_disk_errors
from relabel.fitting.options import WorkOptions
from relabel.fitting.stored import count_examples, hash_examples
from relabel.importers.ingest.truth import write_truth
from relabel.locks import wait_for_project
from relabel.progress import OnProgress, Progress, ignore_progress, keep_interruptions
from relabel.runs.folder import RunFolder
from relabel.scoring.project import score_project, train_project
from relabel.training.config import suggest_training
from relabel.workspace import Workspace
from tracin_core.errors import ConfigurationError
from tracin_core.files import atomic_folder, write_text


@dataclass(frozen=True)
class DemoOptions:
    """Which planted errors a demo has.

    Attributes:
        seed: Chooses them.
        noise: Share of train labels made wrong, 0 to 1.
    """

    seed: int = 0
    noise: float = 0.1


@dataclass(frozen=True)
class DemoRecord:
    """What ``demo.json`` keeps; written last, so where it is, media and truth are whole."""

    seed: int
    noise: float
    data_hash: str
    counts: dict[str, int]


def prepare_demo(name: str, workspace: Workspace, engine: Engine, options: DemoOptions) -> None:
    """Write a demo's media, truth and examples to their places, or what is missing of them.

    What is in the database stays as it is: the installed libraries, and with them the texts of
    the docs demo, may have changed since it was made.

    Raises:
        ConfigurationError: If the project is there with other planted errors, or is no demo.
        NotFoundError: If there is no demo of this name.
    """
    project = find_project(engine, name)
    record = None if project is None else check_record(workspace, project, options)
    entered = None if project is None else count_examples(engine, project.id)
    complete = record is not None and entered == record.counts
    if complete and files_are_there(workspace, name):
        return
    data = load_demo(name, seed=options.seed, noise=options.noise)
    _write_files(data, workspace, options)
    if project is None:
        project = create_project(
            engine,
            slug=data.slug,
            title=data.title,
            kind=data.kind,
            classes=data.classes,
            description=data.description,
        )
    if not complete:
        add_examples(engine, project.id, map(_as_new, data.examples))


def files_are_there(workspace: Workspace, slug: str) -> bool:
    """Return whether the media folder and the truth are on disk."""
    return workspace.truth_path(slug).is_file() and workspace.media_folder(slug).is_dir()


def check_record(workspace: Workspace, project: Project, options: DemoOptions) -> DemoRecord:
    """Return what is known about a demo in the database, if it is the one that is asked for.

    Raises:
        ConfigurationError: If it is another one.
    """
    slug = project.slug
    record = read_record(workspace, slug)
    if record is None:
        raise ConfigurationError(
            f"The database has a project called {slug}, but {_record_path(workspace, slug)} is "
            "missing: it is not this demo, or its files are elsewhere. Choose the workspace it "
            "was made in with --workspace, or an empty one."
        )
    if (record.seed, record.noise) != (options.seed, options.noise):
        raise ConfigurationError(
            f"The project {slug} was made with seed {record.seed} and noise {record.noise}, not "
            f"with seed {options.seed} and noise {options.noise}, and its decisions belong to "
            "those labels. Choose another workspace for other planted errors: --workspace DIR."
        )
    return record


def read_record(workspace: Workspace, slug: str) -> DemoRecord | None:
    """Return what ``demo.json`` says, or None where there is none that can be read."""
    try:
        return DemoRecord(**json.loads(_record_path(workspace, slug).read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None


def _record_path(workspace: Workspace, slug: str) -> Path:
    return workspace.project_folder(slug) / "demo.json"


def _write_files(data: DemoData, workspace: Workspace, options: DemoOptions) -> None:
    data_hash = hash_examples(
        data.classes,
        ((e.key, e.split, e.position, e.given_label, e.content) for e in data.examples),
    )
    known = read_record(workspace, data.slug)
    if known is None or known.data_hash != data_hash or not files_are_there(workspace, data.slug):
        _record_path(workspace, data.slug).unlink(missing_ok=True)
        _write_media(workspace.media_folder(data.slug), data.examples)
        keys = [example.key for example in data.of_split("train")]
        write_truth(workspace.truth_path(data.slug), keys, data.true_labels)
        counts = {"train": len(keys), "test": len(data.examples) - len(keys)}
        record = DemoRecord(options.seed, options.noise, data_hash, counts)
        write_text(_record_path(workspace, data.slug), json.dumps(asdict(record), indent=2) + "\n")


def _as_new(example: DemoExample) -> NewExample:
    return NewExample(
        key=example.key,
        split=example.split,
        position=example.position,
        given_label=example.given_label,
        text=example.text,
        media_path=_media_path(example),
    )


def _media_path(example: DemoExample) -> str | None:
    return None if example.image is None else f"{example.split}/{example.position:05d}.png"


def _write_media(folder: Path, examples: Iterable[DemoExample]) -> None:
    with atomic_folder(folder) as building:
        for example in examples:
            media_path = _media_path(example)
            if media_path is not None and example.image is not None:
                path = building / media_path
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(example.image)


@dataclass(frozen=True)
class BuiltDemo:
    """A demo project that is ready for review.

    Attributes:
        slug: The project.
        run_key: Its current run.
        built: Whether anything had to be done.
        seconds: How long that took.
    """

    slug: str
    run_key: str
    built: bool
    seconds: float


def build_demo(
    name: str,
    workspace: Workspace,
    *,
    seed: int = 0,
    noise: float = 0.1,
    on_progress: OnProgress = ignore_progress,
) -> BuiltDemo:
    """Build, train and score a demo project, or what is missing of it.

    Args:
        name: "digits" or "docs".
        workspace: Where it is put.
        seed: Chooses the planted errors.
        noise: Share of train labels made wrong, 0 to 1.
        on_progress: Told about every step.

    Returns:
        The project, ready for review.

    Raises:
        WorkspaceError: If the workspace cannot be written or the disk is full.
        DatabaseError: If the database cannot be used.
        ConfigurationError: If the project is there with other planted errors.
    """
    start = time.monotonic()
    workspace.prepare()
    options = DemoOptions(seed, noise)
    with (
        keep_interruptions(on_progress) as tell,
        explain_disk_errors(workspace.root),
        wait_for_project(workspace, name, tell),
    ):
        engine = open_database(workspace.database_url)
        try:
            finished = _find_finished(name, workspace, engine, options)
            run_key = finished or _build(name, workspace, engine, options, tell)
        finally:
            engine.dispose()
    return BuiltDemo(name, run_key, finished is None, time.monotonic() - start)


def _find_finished(
    name: str, workspace: Workspace, engine: Engine, options: DemoOptions
) -> str | None:
    """Return the key of the project's current run if nothing is missing, without torch."""
    project = find_project(engine, name)
    if project is None:
        return None
    check_record(workspace, project, options)
    run = current_run(engine, project.id)
    if run is None or not files_are_there(workspace, name):
        return None
    folder = RunFolder(workspace.project_folder(name) / run.folder)
    return None if list(folder.find_problems()) else run.key


def _build(
    name: str,
    workspace: Workspace,
    engine: Engine,
    options: DemoOptions,
    on_progress: OnProgress,
) -> str:
    on_progress(Progress("making the data", 0, 1))
    prepare_demo(name, workspace, engine, options)
    on_progress(Progress("making the data", 1, 1))
    # As the data has them: the planted errors stay until a person asks for a rescore. The epochs
    # are fixed, because how many fit the time limit may differ from machine to machine.
    epochs = suggest_training(get_project(engine, name).kind).epochs  # type: ignore[arg-type]
    work = WorkOptions(labels="given", epochs=epochs)
    train_project(engine, workspace, name, work, on_progress)
    return score_project(engine, workspace, name, work, on_progress).key
