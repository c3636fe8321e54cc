"""Import changed data: it is imported, or told in words what is wrong with it."""

from __future__ import annotations

import pickle
import random
import shutil
from pathlib import Path

from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.importers.detect import open_source
from relabel.importers.ingest.project import import_project
from relabel.importers.options import ImportOptions
from relabel.projects.delete import remove_project
from relabel.workspace import resolve_workspace
from tests.fuzz.changes import change_archive, change_bytes
from tests.fuzz.sound_data import make_sound_data
from tests.fuzz.watching import Figures, draw_for, list_left, watch

PART = "imports"


class Trap:
    """A pickle of this makes a folder where it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (Path(self._path),)  # type: ignore[return-value]


def fuzz_imports(root: Path, cases: range) -> Figures:
    """Import changed data, one case after the other.

    Args:
        root: An empty folder.
        cases: Numbers of the cases; each chooses a data set and its changes.
    """
    workspace = resolve_workspace(root / "work")
    workspace.prepare()
    sound = make_sound_data(root / "data")
    engine = open_database(workspace.database_url)
    trap = pickle.dumps(Trap(root / "unpickled"))

    def run(number: int) -> str:
        draw = draw_for(PART, number)
        name = draw.choice(list(sound))
        data = root / "data" / f"case-{number}"
        write_changed(draw, sound, name, data, trap)
        files = list(sound[name])
        path = data / files[0] if len(files) == 1 and "/" not in files[0] else data
        options = ImportOptions(test_share=draw.choice([0.2, 0.5]))
        slug = f"p{number}"
        try:
            # What the page shows before the import, and the import.
            open_source(path, options).preview(5)
            import_project(engine, workspace, slug, path, options)
            get_project(engine, slug)
            remove_project(engine, workspace, slug)
        finally:
            shutil.rmtree(data, ignore_errors=True)
        return name

    figures = watch(PART, cases, run, root)
    left = [path.name for path in (workspace.root / "projects").iterdir()]
    figures.faults += [f"{PART}: {name} was left in the workspace" for name in left]
    figures.faults += [f"{PART}: {name} was left" for name in list_left(root)]
    engine.dispose()
    return figures


def write_changed(
    draw: random.Random,
    sound: dict[str, dict[str, bytes]],
    name: str,
    folder: Path,
    trap: bytes,
) -> None:
    """Write a data set with one of its files changed; archives also inside."""
    files = dict(sound[name])
    victim = draw.choice(list(files))
    other = draw.choice([one for files in sound.values() for one in files.values()])
    if victim.endswith((".zip", ".npz")) and draw.random() < 0.6:
        files[victim] = change_archive(
            draw, files[victim], lambda d, _, content: change_bytes(d, content, other)
        )
    elif "cifar" in victim and draw.random() < 0.3:
        files[victim] = trap
    else:
        files[victim] = change_bytes(draw, files[victim], other)
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
