"""Projects of a few dozen examples in a database of their own, trained and scored in a moment."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy import Engine

from relabel.db.engine import open_database
from relabel.db.examples import NewExample, add_examples
from relabel.db.project_rules import Project
from relabel.db.projects import create_project
from relabel.fitting.options import WorkOptions
from relabel.scoring.project import score_project, train_project
from relabel.workspace import Workspace, resolve_workspace

WORDS = {
    "sun": ["warm", "bright", "yellow", "morning", "summer"],
    "rain": ["wet", "grey", "umbrella", "puddle", "cloud"],
}
CLASSES = ("sun", "rain")
COLUMNS = [
    {"name": "rooms", "kind": "number"},
    {"name": "age", "kind": "number"},
    {"name": "place", "kind": "category"},
]
QUICK = WorkOptions(folds=0, epochs=4)


def open_workspace(root: Path) -> tuple[Engine, Workspace]:
    workspace = resolve_workspace(root)
    workspace.prepare()
    return open_database(workspace.database_url), workspace


def make_texts(engine: Engine, *, slug="weather", wrong=(), train=60, test=20, seed=0) -> Project:
    """Texts about sun and rain, with some train labels wrong."""
    rng = np.random.default_rng(seed)
    project = create_project(engine, slug=slug, title="Weather", kind="text", classes=CLASSES)
    examples = []
    for split, count in (("train", train), ("test", test)):
        for position in range(count):
            label = position % 2
            text = " ".join(rng.choice(WORDS[CLASSES[label]], 4)) + f" {position}"
            given = 1 - label if split == "train" and position in wrong else label
            examples.append(_text(split, position, given, text))
    add_examples(engine, project.id, examples)
    return project


def make_labelled(
    engine: Engine, labels: Iterable[int], classes: Iterable[str], slug="many"
) -> Project:
    """Texts with the labels given, each class with a word of its own; all for training."""
    project = create_project(engine, slug=slug, title="Many", kind="text", classes=classes)
    add_examples(
        engine,
        project.id,
        (_text("train", i, label, f"word{label} common") for i, label in enumerate(labels)),
    )
    return project


def make_images(engine: Engine, workspace: Workspace) -> Project:
    """Squares that are light above or below."""
    project = create_project(engine, slug="squares", title="Squares", kind="image", classes="ab")
    rng, examples = np.random.default_rng(0), []
    for split, count in (("train", 40), ("test", 10)):
        for position in range(count):
            label = position % 2
            pixels = rng.integers(0, 90, (8, 8), dtype=np.uint8)
            pixels[label * 4 : label * 4 + 4] += 160
            path = workspace.media_folder("squares") / split / f"{position}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            buffer = BytesIO()
            Image.fromarray(pixels).save(buffer, format="PNG")
            path.write_bytes(buffer.getvalue())
            examples.append(
                NewExample(
                    key=f"{split}-{position}",
                    split=split,
                    position=position,
                    given_label=label,
                    media_path=f"{split}/{position}.png",
                )
            )
    add_examples(engine, project.id, examples)
    return project


def make_houses(engine: Engine, *, wrong=(), train=200, test=50) -> Project:
    """Rows with a price that follows from them; of some train rows it is ten times as high."""
    project = create_project(
        engine,
        slug="houses",
        title="Houses",
        kind="table",
        task="regression",
        target="price",
        settings={"columns": COLUMNS},
    )
    rng, examples = np.random.default_rng(0), []
    for split, count in (("train", train), ("test", test)):
        for position in range(count):
            fields, price = _make_house(rng)
            if split == "train" and position in wrong:
                price *= 10
            examples.append(
                NewExample(
                    key=f"{split}-{position}",
                    split=split,
                    position=position,
                    given_value=price,
                    fields=fields,
                )
            )
    add_examples(engine, project.id, examples)
    return project


def make_rows(engine: Engine) -> Project:
    """The same rows with a class: dear or cheap."""
    project = create_project(
        engine,
        slug="rows",
        title="Rows",
        kind="table",
        classes=("cheap", "dear"),
        settings={"columns": COLUMNS},
    )
    rng, examples = np.random.default_rng(0), []
    for split, count in (("train", 120), ("test", 40)):
        for position in range(count):
            fields, price = _make_house(rng)
            examples.append(
                NewExample(
                    key=f"{split}-{position}",
                    split=split,
                    position=position,
                    given_label=int(price > 120_000),
                    fields=fields,
                )
            )
    add_examples(engine, project.id, examples)
    return project


def _make_house(rng: np.random.Generator) -> tuple[dict[str, float | str | None], float]:
    rooms, place = float(rng.integers(1, 9)), str(rng.choice(["sea", "hill", "town"]))
    age = None if rng.random() < 0.1 else float(rng.integers(1, 80))
    price = 20_000 * rooms + {"sea": 60_000, "hill": 30_000, "town": 0}[place]
    return {"rooms": rooms, "age": age, "place": place}, float(price + rng.normal(0, 2_000))


def _text(split: str, position: int, label: int, text: str) -> NewExample:
    return NewExample(
        key=f"{split}-{position}", split=split, position=position, given_label=label, text=text
    )


if __name__ == "__main__":  # a process that a test can kill
    opened, place = open_workspace(Path(sys.argv[1]))
    work = {"train": train_project, "score": score_project}[sys.argv[2]]
    work(opened, place, "weather", QUICK, lambda r: print(r.stage, r.done, flush=True))
    print("finished", flush=True)
