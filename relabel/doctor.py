"""Diagnose the installation and what is stored: one finding after another."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

from relabel.workspace import Workspace, find_program_name
from tracin_core import __version__
from tracin_core.errors import RetrievalError, StorageError, TracInError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from relabel.db.project_rules import Project
    from relabel.runs.folder import RunFolder

Level = Literal["ok", "note", "broken"]
PACKAGES = ("torch", "streamlit", "sqlalchemy", "alembic", "numpy", "pandas", "pyarrow", "annoy")
APPLICATION, ENGINE = "tracin-relabel", "tracin-core"  # the names of the two distributions
# A demo project takes about 45 MB; with less than this, work stops in the middle.
SCARCE_BYTES = 500 * 10**6
# What the recall of an approximate index must reach to be used at all.
USABLE_RECALL = 0.95


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: "broken" needs mending before work can go on; a "note" does not.
        subject: What was looked at.
        text: What was found, and for "broken" what to do.
    """

    level: Level
    subject: str
    text: str


def diagnose(workspace: Workspace) -> Iterator[Finding]:
    """Look at everything, one finding after another; nothing found stops the rest."""
    yield _check_python()
    yield from _check_packages()
    yield from _check_engine()
    checks = (("device", _check_device), ("index", _check_annoy), ("features", _check_backbones))
    for subject, check in checks:
        yield from _report_failure(subject, check)
    yield from _report_failure("workspace", lambda: _check_workspace(workspace))
    yield from _report_failure("database", lambda: _check_database(workspace))


def _report_failure(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except TracInError as error:
        yield Finding("broken", subject, str(error))
    except ImportError as error:
        text = f"{error}. Install what is missing: pip install tracin-relabel"
        yield Finding("broken", subject, text)


def _check_python() -> Finding:
    return Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}")


def _check_packages() -> Iterator[Finding]:
    missing, found = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    yield Finding("ok", "packages", ", ".join(found))
    if missing:
        text = f"Missing: {', '.join(missing)}. Run pip install tracin-relabel"
        yield Finding("broken", "packages", text)


def _check_engine() -> Iterator[Finding]:
    """Check that the engine's own distribution does not stand beside ours, which contains it."""
    try:
        engine, application = version(ENGINE), version(APPLICATION)
    except PackageNotFoundError:
        return  # a checkout, or one of them alone
    # Whichever was installed last has written its files over those of the other.
    is_broken = __version__ != application
    told = f"{ENGINE} {engine} is installed beside {APPLICATION} {application}, which contains it"
    if is_broken:
        told += f", and the files are those of {__version__}"
    text = (
        f"{told}. Expected {APPLICATION} alone: run pip uninstall {ENGINE}, then pip install "
        f"--force-reinstall --no-deps {APPLICATION}=={application}"
    )
    yield Finding("broken" if is_broken else "note", "packages", text)


def _check_device() -> Iterator[Finding]:
    import torch

    from tracin_core.devices import choose_device

    device = choose_device("auto")
    threads = f"{torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else threads
    yield Finding("ok", "device", f"TracIn computes on {device} ({name})")


def _check_annoy() -> Iterator[Finding]:
    """Build a real index: a wrongly compiled Annoy returns one neighbour instead of ten."""
    import numpy as np

    from tracin_core.retrieval import build_index

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2_000, 32)).astype(np.float32)
    recall = build_index(vectors, kind="annoy").recall
    if recall < USABLE_RECALL:
        text = (
            f"Annoy finds only {recall:.0%} of the nearest neighbours in a test of 2,000 vectors; "
            f"expected {USABLE_RECALL:.0%}. Reinstall it from source with a C++ compiler: "
            "pip install --force-reinstall --no-binary annoy annoy"
        )
        yield Finding("broken", "index", text)
    else:
        yield Finding("ok", "index", f"Annoy works, recall {recall:.3f} in a test of 2,000 vectors")


def _check_backbones() -> Iterator[Finding]:
    """Say which frozen networks are at hand for features."""
    from relabel.features.backbones.registry import describe_at_hand

    for name, told in describe_at_hand().items():
        yield Finding("ok", "features", f"{name}: {told}")


def _check_workspace(workspace: Workspace) -> Iterator[Finding]:
    obstacle = workspace.prepare_to_look()
    free = shutil.disk_usage(workspace.root).free
    if obstacle and free >= SCARCE_BYTES:
        text = f"{obstacle} It can be looked at and exported; nothing can be recorded in it."
        yield Finding("note", "workspace", text)
        return
    text = f"{workspace.root}, {'not ' if obstacle else ''}writable, {free / 1e9:.1f} GB free"
    if free < SCARCE_BYTES:
        text += ". Free some space: training and scoring may stop for lack of it."
        yield Finding("broken", "workspace", text)
    else:
        yield Finding("ok", "workspace", text)


def _check_database(workspace: Workspace) -> Iterator[Finding]:
    from sqlalchemy import text

    from relabel.db.engine import open_database
    from relabel.db.projects import list_projects
    from relabel.db.schema import SCHEMA_REVISION

    engine = open_database(workspace.database_url, to_look=True)
    url = engine.url.render_as_string(hide_password=True)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            problems = connection.execute(text("PRAGMA integrity_check")).scalars().all()
        if problems != ["ok"]:
            found = f"{url} is damaged: {problems[0]}. Restore it from a backup."
            yield Finding("broken", "database", found)
            return
    yield Finding("ok", "database", f"{url}, sound, schema {SCHEMA_REVISION}")
    yield from _report_failure("jobs", partial(_check_jobs, workspace, engine))
    projects = [*list_projects(engine), *list_projects(engine, archived=True)]
    if not projects:
        yield Finding("note", "projects", f"None yet. Run {find_program_name()} demo")
    for project in projects:
        yield from _report_failure(
            f"project {project.slug}", partial(_check_project, workspace, engine, project)
        )


def _check_jobs(workspace: Workspace, engine: Engine) -> Iterator[Finding]:
    """Close the books on dead jobs, and take away what killed deletions have left."""
    from relabel.db.engine import is_read_only
    from relabel.db.jobs import ACTIVE, fail_dead_jobs, list_jobs
    from relabel.importers.ingest.project import remove_killed_imports
    from relabel.jobs.execute import describe_work
    from relabel.projects.delete import (
        MARK,
        finish_removals,
        list_moved_leftovers,
        remove_abandoned,
    )

    for job in fail_dead_jobs(engine):
        again = f"{find_program_name()} jobs --retry {job.id}"
        yield Finding("note", "jobs", f"{describe_work(job)} had died: {job.error} ({again})")
    active = [job for job in list_jobs(engine) if job.state in ACTIVE]
    told = [f"{describe_work(job)} is {job.state}, {job.progress:.0%}" for job in active]
    yield Finding("ok", "jobs", "; ".join(told) or "none is running")
    if is_read_only(engine):
        return
    for path in remove_abandoned(engine, workspace):
        yield Finding("note", "leftovers", f"Removed {path}, which a killed process had left.")
    for slug in remove_killed_imports(engine, workspace):
        text = "Removed what an unfinished import had left. Import the data again."
        yield Finding("note", f"project {slug}", text)
    for slug in finish_removals(engine, workspace):
        yield Finding("note", f"project {slug}", "Removed what an unfinished deletion had left.")
    for folder in list_moved_leftovers(workspace):
        text = (
            f"{folder} bears the mark of an unfinished restoration and has been moved since, so it "
            f"is left alone. Remove it, or remove the file {MARK} in it."
        )
        yield Finding("note", "leftovers", text)


def _check_project(workspace: Workspace, engine: Engine, project: Project) -> Iterator[Finding]:
    from relabel.db.runs import current_run
    from relabel.runs.folder import RunFolder
    from relabel.triage.evidence import open_evidence

    subject, run = f"project {project.slug}", current_run(engine, project.id)
    if run is None:
        text = f"Not scored yet. Run {find_program_name()} train {project.slug}"
        yield Finding("note", subject, text)
        return
    folder = RunFolder(workspace.project_folder(project.slug) / run.folder)
    problems = list(folder.find_problems())
    for problem in problems:
        yield Finding("broken", subject, str(problem))
    if not problems:
        yield from _mend_indexes(workspace, engine, project, folder)
        evidence = open_evidence(folder.root)
        recalls = ", ".join(f"{layers} {evidence.recall(layers):.3f}" for layers in evidence.layers)
        yield Finding("ok", subject, f"run {run.key} is whole; recall of its indexes: {recalls}")


def _mend_indexes(
    workspace: Workspace, engine: Engine, project: Project, folder: RunFolder
) -> Iterator[Finding]:
    """Build the indexes that are missing or not to be trusted, unless somebody is at work."""
    from relabel.db.jobs import active_job
    from relabel.triage.evidence import mend_indexes

    if active_job(engine, project.slug) is not None:
        return
    try:
        mended = mend_indexes(folder)
    except (RetrievalError, StorageError) as error:
        yield Finding("note", f"project {project.slug}", str(error))
        return
    if mended:
        text = f"Built the index over {' and '.join(mended)} layers again from the run's vectors."
        yield Finding("note", f"project {project.slug}", text)
