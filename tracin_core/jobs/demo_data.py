"""A demo's examples: made from the installation once, read back from the project afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.errors import ConfigurationError, NotFoundError
from tracin_core.examples import DemoData, DemoExample, load_demo
from tracin_core.files import atomic_folder, write_text
from tracin_core.jobs.evaluation import write_truth
from tracin_core.jobs.stored_examples import (
    StoredExample,
    hash_examples,
    of_split,
    read_examples,
)
from tracin_core.reviews.projects import Project, get_project
from tracin_core.runs.config import Kind


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


@dataclass(frozen=True, kw_only=True)
class PreparedDemo:
    """A demo whose media and truth are on disk.

    Attributes:
        slug, title, description, kind, classes: As the project will have them.
        examples: Of both splits.
        data_hash: Digest of classes and examples.
    """

    slug: str
    title: str
    description: str
    kind: Kind
    classes: tuple[str, ...]
    examples: list[StoredExample]
    data_hash: str


def prepare_demo(
    name: str, workspace: Workspace, engine: Engine, options: DemoOptions
) -> PreparedDemo:
    """Return the demo's examples, with their media and truth on disk.

    A project that is in the database already is read from there: the installed libraries, and
    with them the texts of the docs demo, may have changed since it was made.

    Raises:
        ConfigurationError: If the project is there with other planted errors, or is no demo.
        NotFoundError: If there is no demo of this name.
    """
    project = find_project(engine, name)
    record = None if project is None else check_record(workspace, project, options)
    if project is not None and record is not None and files_are_there(workspace, name):
        entered = _read_back(workspace, engine, project, record)
        if entered:
            return PreparedDemo(
                slug=name,
                title=project.title,
                description=project.description,
                kind="image" if project.kind == "image" else "text",
                classes=project.classes,
                examples=entered,
                data_hash=hash_examples(project.classes, entered),
            )
    return _make(load_demo(name, seed=options.seed, noise=options.noise), workspace, options)


def files_are_there(workspace: Workspace, slug: str) -> bool:
    """Tell whether the media folder and the truth are on disk."""
    return workspace.truth_path(slug).is_file() and workspace.media_folder(slug).is_dir()


def find_project(engine: Engine, slug: str) -> Project | None:
    """Return the project, or None where there is none of this name."""
    try:
        return get_project(engine, slug)
    except NotFoundError:
        return None


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
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _record_path(workspace: Workspace, slug: str) -> Path:
    return workspace.project_folder(slug) / "demo.json"


def _make(data: DemoData, workspace: Workspace, options: DemoOptions) -> PreparedDemo:
    examples = [_as_stored(example) for example in data.examples]
    data_hash = hash_examples(data.classes, examples)
    known = read_record(workspace, data.slug)
    if known is None or known.data_hash != data_hash or not files_are_there(workspace, data.slug):
        _record_path(workspace, data.slug).unlink(missing_ok=True)
        _write_media(workspace.media_folder(data.slug), examples)
        train = of_split(examples, "train")
        write_truth(
            workspace.truth_path(data.slug), [example.key for example in train], data.true_labels
        )
        counts = {"train": len(train), "test": len(examples) - len(train)}
        record = DemoRecord(options.seed, options.noise, data_hash, counts)
        write_text(_record_path(workspace, data.slug), json.dumps(asdict(record), indent=2) + "\n")
    return PreparedDemo(
        slug=data.slug,
        title=data.title,
        description=data.description,
        kind=data.kind,
        classes=data.classes,
        examples=examples,
        data_hash=data_hash,
    )


def _read_back(
    workspace: Workspace, engine: Engine, project: Project, record: DemoRecord
) -> list[StoredExample]:
    """Return the examples in the database; none if it was killed before they were entered."""
    try:
        return read_examples(
            engine, project.id, workspace.media_folder(project.slug), record.counts
        )
    except NotFoundError:
        return []


def _as_stored(example: DemoExample) -> StoredExample:
    path = None if example.image is None else f"{example.split}/{example.position:05d}.png"
    return StoredExample(
        key=example.key,
        split=example.split,
        position=example.position,
        given_label=example.given_label,
        content=example.content,
        media_path=path,
    )


def _write_media(folder: Path, examples: Iterable[StoredExample]) -> None:
    with atomic_folder(folder) as building:
        for example in examples:
            if example.media_path is not None and isinstance(example.content, bytes):
                path = building / example.media_path
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(example.content)
