"""Projects of each kind with the names, texts and pictures that strangers think up."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy import Engine

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.examples import NewExample, add_examples, find_by_positions
from relabel.db.project_rules import Project
from relabel.db.projects import create_project
from relabel.db.registration import register_run

# As class names, keys, texts, notes, reviewers and places.
HOSTILE = (
    "..",
    "con",
    "NUL.txt",
    "../../etc/passwd",
    "/root/x",
    "C:\\Windows\\x",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "=HYPERLINK(1)",
    "@SUM(1)",
    "-2+3",
    "a\u202ebc\u200b",
    "two\nlines\r\n, \"quoted\"; 'one'",
    "x" * 190,
    "  . ",
    "Cat",
    "cat",
    "é 👂 日本語",
    "\x07bell\x1b[31m",
    "{{7*7}} ${x} %s",
)
TASKS = {
    "text": ("text", "classification"),
    "image": ("image", "classification"),
    "table": ("table", "classification"),
    "numbers": ("table", "regression"),
}


def make_picture(width: int = 6) -> bytes:
    """Return a PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, 4), "green").save(buffer, "PNG")
    return buffer.getvalue()


def build_hostile(engine: Engine, media: Path, name: str, *, decided: bool = True) -> Project:
    """Make a project of a kind in which everything that can be named is named by a stranger.

    Where that is wanted, the second half of the train split is decided on, the last one excluded;
    one picture is huge.
    """
    kind, task = TASKS[name]
    columns = [{"name": one, "kind": "category"} for one in HOSTILE[:4]]
    project = create_project(
        engine,
        slug=f"hostile-{name}",
        title=HOSTILE[6],
        kind=kind,
        task=task,
        classes=() if task == "regression" else HOSTILE,
        settings={"columns": columns} if kind == "table" else {},
    )
    (media / "import-0001").mkdir(parents=True, exist_ok=True)
    examples = []
    for place, odd in enumerate(HOSTILE):
        picture = f"import-0001/{place}.png"
        (media / picture).write_bytes(make_picture(20_000 if place == 3 else 6))
        examples.append(
            NewExample(
                odd,
                "test" if place == 0 else "train",
                0 if place == 0 else place - 1,
                0 if task == "regression" else place,
                text=odd if kind == "text" else None,
                media_path=picture if kind == "image" else None,
                given_value=-1.5 * place if task == "regression" else None,
                fields={c["name"]: odd for c in columns} if kind == "table" else None,
                source_place=f"{odd}/{odd}.png",
            )
        )
    add_examples(engine, project.id, examples)
    _score(engine, project, len(examples) - 1)
    if decided:
        _decide(engine, project, len(examples) - 1)
    return project


def _score(engine: Engine, project: Project, num_train: int) -> None:
    if project.task == "regression":
        predictions = {"train": (np.arange(num_train) * 1.0,), "test": (np.ones(1),)}
    else:
        sizes = {"train": num_train, "test": 1}
        predictions = {
            split: (np.arange(size) % 3, np.full(size, 0.75), np.full(size, 0.25))
            for split, size in sizes.items()
        }
    register_run(
        engine,
        project.id,
        key="first",
        folder="runs/first",
        config={},
        checkpoints=[],
        scores={"self_influence": np.arange(num_train) * 1.0},
        predictions=predictions,
    )


def _decide(engine: Engine, project: Project, num_train: int) -> None:
    found = find_by_positions(engine, project.id, None, "train", range(num_train))
    for place, view in enumerate(found[num_train // 2 :]):
        is_last = view.position == num_train - 1
        action = "exclude" if is_last else "relabel" if place % 2 else "keep"
        corrects = action == "relabel"
        record_decision(
            engine,
            NewDecision(
                view.id,
                0,
                "=ann <b>",
                action,
                new_label=place if corrects and project.task != "regression" else None,
                new_value=-0.25 if corrects and project.task == "regression" else None,
                note=HOSTILE[place],
            ),
        )
