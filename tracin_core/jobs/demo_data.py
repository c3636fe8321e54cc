"""A demo's examples: made from the installation once, read back from the project afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.errors import ConfigurationError
from tracin_core.examples import DemoData, DemoExample, load_demo
from tracin_core.files import atomic_folder, write_text
from tracin_core.fitting.stored_examples import count_examples, hash_examples
from tracin_core.importing.truth import write_truth
from tracin_core.reviews.projects import (
    NewExample,
    Project,
    add_examples,
    create_project,
    find_project,
)


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
    """Put a demo's media, truth and examples in their places, or what is missing of them.

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
    """Tell whether the media folder and the truth are on disk."""
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
