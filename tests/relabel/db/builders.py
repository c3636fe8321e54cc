"""A small scored project whose ranking is known by heart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np
from sqlalchemy import Engine, select

from relabel.db.decisions.recording import Decision, NewDecision, record_decision
from relabel.db.examples import NewExample, add_examples, get_example
from relabel.db.project_rules import Project
from relabel.db.projects import create_project
from relabel.db.registration import register_run
from relabel.db.runs import Run
from relabel.db.schema import ExampleRow

CLASSES = ("cat", "dog", "emu")
_numbers = count()


@dataclass(frozen=True)
class Scene:
    """A project with one run.

    Train example `p` has the label ``p % 3`` and is predicted as ``(p // 2) % 3``. By
    "self_influence" the last position is the most suspect, by "mean_loss" the first.
    """

    engine: Engine
    project: Project
    run: Run
    train_ids: list[int]  # by position
    test_ids: list[int]

    def by_rank(self, rank: int) -> int:
        """Return the id of the example with this rank by self-influence."""
        return self.train_ids[-rank]

    def decide(self, example_id: int, action: str = "keep", **fields: object) -> Decision:
        """Decide about the example as it is now."""
        version = get_example(self.engine, example_id, None).version
        values = {"reviewer": "ann", **fields}
        return record_decision(
            self.engine, NewDecision(example_id, version, action=action, **values)
        )


def build_scene(
    engine: Engine, num_train: int = 6, num_test: int = 3, *, kind: str = "text"
) -> Scene:
    """Make a project of a new name, with examples and a run."""
    slug = f"pets-{next(_numbers)}"
    project = create_project(engine, slug=slug, title="Pets", kind=kind, classes=CLASSES)
    splits = [("train", num_train), ("test", num_test)]
    examples = [
        NewExample(
            key=f"{split}-{position}",
            split=split,
            position=position,
            given_label=position % 3,
            text=f"text {position} of {split}" if kind == "text" else None,
            media_path=f"{split}/{position}.png" if kind == "image" else None,
            source_place=f"{split}/im {position}.JPG" if kind == "image" else None,
        )
        for split, size in splits
        for position in range(size)
    ]
    add_examples(engine, project.id, examples)
    run = score(engine, project, num_train, num_test)
    with engine.connect() as connection:
        ids = connection.exec_driver_sql(
            f"SELECT id FROM example WHERE project_id = {project.id} ORDER BY id"  # noqa: S608
        )
        all_ids = list(ids.scalars())
    return Scene(engine, project, run, all_ids[:num_train], all_ids[num_train:])


COLUMNS = [
    {"name": "rooms", "kind": "number"},
    {"name": "street", "kind": "category"},
    {"name": "north", "kind": "number", "latitude": True},
]


def build_homes(engine: Engine, num_train: int = 6, num_test: int = 3) -> Scene:
    """Make a project of numbers in a table, with a run; the ranking is that of `build_scene`.

    Train example `p` has the value ``100 + p``, is predicted as ``90 + 2 * p``, and has `p` rooms.
    """
    project = create_project(
        engine,
        slug=f"homes-{next(_numbers)}",
        title="Homes",
        kind="table",
        task="regression",
        target="price",
        settings={"columns": COLUMNS},
    )
    examples = [
        NewExample(
            key=f"{split}-{position}",
            split=split,
            position=position,
            given_value=100.0 + position,
            fields={"rooms": position, "street": f"{position}é Rue <b>", "north": None},
            source_place=f"homes.csv, row {position + 2}",
        )
        for split, size in (("train", num_train), ("test", num_test))
        for position in range(size)
    ]
    add_examples(engine, project.id, examples)
    run = register_run(
        engine,
        project.id,
        key="first",
        folder="runs/first",
        config={},
        checkpoints=[],
        scores={
            "self_influence": np.arange(num_train),
            "mean_loss": -np.arange(num_train),
        },
        predictions={
            "train": (90.0 + 2 * np.arange(num_train),),
            "test": (np.full(num_test, 100.0),),
        },
    )
    with engine.connect() as connection:
        ids = connection.scalars(
            select(ExampleRow.id).where(ExampleRow.project_id == project.id).order_by(ExampleRow.id)
        ).all()
    return Scene(engine, project, run, list(ids[:num_train]), list(ids[num_train:]))


def score(
    engine: Engine, project: Project, num_train: int, num_test: int, key: str = "first"
) -> Run:
    """Register a run with two signals of opposite orders."""
    positions = np.arange(num_train)
    predictions = {
        split: ((np.arange(size) // 2) % 3, np.full(size, 0.75), np.full(size, 0.25))
        for split, size in (("train", num_train), ("test", num_test))
    }
    return register_run(
        engine,
        project.id,
        key=key,
        folder=f"runs/{key}",
        config={"model": {"name": "small"}},
        checkpoints=[
            {"file": "checkpoints/step-1.pt", "step": 1, "epoch": 0.5, "learning_rate": 0.1},
            {"file": "checkpoints/step-2.pt", "step": 2, "train_loss": float("nan")},
        ],
        scores={
            "self_influence": positions.astype(np.float32),
            "mean_loss": -positions.astype(np.float64),
        },
        predictions=predictions,
    )
