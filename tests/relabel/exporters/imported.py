"""Projects made from files, whose labels are then decided on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.examples import ExampleView
from relabel.db.projects import get_project
from relabel.export import export_labels
from relabel.exporters.exported import OwnFile
from relabel.importers.ingest.project import import_project
from relabel.importers.options import ImportOptions
from relabel.text import SPLITS
from relabel.workspace import Workspace
from tests.relabel.importers.ingest.test_importing import views


class Imported:
    """A workspace with projects that were imported."""

    def __init__(self, engine: Engine, workspace: Workspace) -> None:
        self.engine, self.workspace = engine, workspace
        self.notes: list[str] = []

    def bring(self, path: Path, slug: str = "mine", **options: Any) -> None:
        """Import a file."""
        import_project(self.engine, self.workspace, slug, path, ImportOptions(**options))

    def find(self, holds: Callable[[ExampleView], bool], slug: str = "mine") -> ExampleView:
        """Return the example for which something holds."""
        splits = (views(self.engine, slug, split) for split in SPLITS)
        return next(one for split in splits for one in split if holds(one))

    def decide(
        self,
        view: ExampleView,
        action: str,
        label: str | None = None,
        *,
        slug: str = "mine",
        **more: Any,
    ) -> None:
        """Decide about an example, a class by its name."""
        classes = get_project(self.engine, slug).classes
        new = None if label is None else classes.index(label)
        record_decision(
            self.engine,
            NewDecision(
                view.id,
                more.pop("version", 0),
                **({"reviewer": "ann"} | more),
                action=action,
                new_label=new,
            ),
        )

    def relabel(self, text: str, label: str, slug: str = "mine", **more: Any) -> None:
        """Correct the label of a text."""
        self.decide(
            self.find(lambda one: one.text == text, slug), "relabel", label, slug=slug, **more
        )

    def export(self, format: str = "own", slug: str = "mine", **options: Any) -> bytes:
        """Export a project; what is said of it goes to ``notes``."""
        self.notes.clear()
        own = {n: options.pop(n) for n in ("number", "path", "beside", "protects") if n in options}
        return export_labels(
            self.engine,
            get_project(self.engine, slug).id,
            format=format,
            own=OwnFile(**own),
            media=self.workspace.media_folder(slug),
            tell=self.notes.append,
            **options,
        )
