"""Restore changed backups: the project is whole, or nothing of it is there."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

from sqlalchemy import Engine

from relabel.db.decisions.history import fetch_history
from relabel.db.engine import open_database
from relabel.db.projects import list_projects
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.db.stats import review_progress
from relabel.export import export_labels
from relabel.projects.backup import backup_project
from relabel.projects.backup_file import MANIFEST
from relabel.projects.delete import finish_removals, remove_project
from relabel.projects.restore import restore_project
from relabel.workspace import Workspace, resolve_workspace
from tests.fuzz.changes import change_archive, change_bytes, change_json
from tests.fuzz.watching import Figures, draw_for, list_left, watch
from tests.relabel.db.builders import build_scene
from tests.relabel.importers.builders import picture

PART = "backups"


def fuzz_backups(root: Path, cases: range) -> Figures:
    """Restore changed backups, one after the other, and look at what was restored.

    Args:
        root: An empty folder.
        cases: Numbers of the cases.
    """
    workspace = resolve_workspace(root / "work")
    workspace.prepare()
    engine = open_database(workspace.database_url)
    sound = make_backup(root, workspace, engine)
    path = root / "data" / "backup.zip"

    def run(number: int) -> str:
        draw = draw_for(PART, number)
        way, data = change_backup(draw, sound)
        path.write_bytes(data)
        slug = f"again-{number}"
        project = restore_project(engine, workspace, path, slug=slug)
        assert project.slug == slug
        look_at(engine, project.id)
        remove_project(engine, workspace, slug)
        return way

    figures = watch(PART, cases, run, root)
    finish_removals(engine, workspace)
    left = {project.slug for project in list_projects(engine)}
    left |= {folder.name for folder in (workspace.root / "projects").iterdir()}
    expected = {name for name in left if name.startswith("pets")}
    figures.faults += [f"{PART}: {name} was left" for name in sorted(left - expected)]
    figures.faults += [f"{PART}: {name} was left" for name in list_left(root)]
    engine.dispose()
    return figures


def make_backup(root: Path, workspace: Workspace, engine: Engine) -> bytes:
    """Return a backup of a small project with a run, decisions and pictures."""
    scene = build_scene(engine, kind="image")
    scene.decide(scene.train_ids[0], "relabel", new_label=2, note="a note")
    scene.decide(scene.train_ids[1], "keep")
    media = workspace.project_folder(scene.project.slug) / "media"
    for split, count in (("train", 6), ("test", 3)):
        (media / split).mkdir(parents=True)
        for number in range(count):
            (media / split / f"{number}.png").write_bytes(picture(number))
    path = root / "data" / "sound.zip"
    backup_project(engine, workspace, scene.project.slug, path)
    return path.read_bytes()


def change_backup(draw: random.Random, sound: bytes) -> tuple[str, bytes]:
    """Return a changed backup and how it was changed: bytes, members, or members with digests."""
    way = draw.choice(["bytes", "members", "sealed", "sealed"])
    if way == "bytes":
        return way, change_bytes(draw, sound, sound)
    return way, change_archive(draw, sound, change_member, seal if way == "sealed" else None)


def change_member(draw: random.Random, name: str, content: bytes) -> bytes:
    """Return a member's content with other values; of JSON still JSON, mostly."""
    if draw.random() < 0.2:
        return change_bytes(draw, content)
    try:
        return change_values(draw, name, content)
    except (ValueError, RecursionError):  # it was no JSON any more
        return change_bytes(draw, content)


def change_values(draw: random.Random, name: str, content: bytes) -> bytes:
    """Return a member's content with other values.

    Raises:
        ValueError: If it should be JSON and is none.
    """
    if name == MANIFEST:
        return json.dumps(change_json(draw, json.loads(content))).encode()
    if name.endswith(".jsonl"):
        lines = content.decode().splitlines()
        if lines:
            place = draw.randrange(len(lines))
            lines[place] = json.dumps(change_json(draw, json.loads(lines[place])))
            if draw.random() < 0.1:
                lines.insert(draw.randrange(len(lines)), draw.choice(lines))
        return "\n".join([*lines, ""]).encode()
    return change_bytes(draw, content)


def seal(members: dict[str, bytes]) -> None:
    """Give the list of all that is there the sizes and digests of what is there now."""
    try:
        manifest = json.loads(members[MANIFEST])
        listed = manifest["entries"]
        for name in {*listed, *members} - {MANIFEST}:
            if name in members:
                content = members[name]
                digest = hashlib.sha256(content).hexdigest()
                listed[name] = {"bytes": len(content), "sha256": digest}
            else:
                del listed[name]
        for table in list(manifest["counts"]):
            rows = members.get(f"rows/{table}.jsonl")
            if rows is not None:
                manifest["counts"][table] = max(0, len(rows.splitlines()) - 1)
    except (KeyError, TypeError, ValueError, AttributeError):
        return  # a list that was changed beyond mending stays as it is
    members[MANIFEST] = json.dumps(manifest).encode()


def look_at(engine: Engine, project_id: int) -> None:
    """Read what the pages read of a restored project."""
    fetch_history(engine, project_id)
    review_progress(engine, project_id)
    export_labels(engine, project_id, format="csv")
    run = current_run(engine, project_id)
    for signal in run.signals if run is not None else ():
        fetch_page(engine, run.id, signal=signal)
