"""The files of a report: one page, and its figures for slides."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine

from relabel.archives import make_zip
from relabel.db.team.reviewers import Identity, check_lead
from relabel.files import explain_disk_errors, open_export
from relabel.workspace import Workspace
from relabel.worth.report.collect import ReportFacts, collect_facts
from relabel.worth.report.drawing import make_png, make_svg
from relabel.worth.report.figures import draw_all
from relabel.worth.report.page import make_page
from tracin_core.errors import ConfigurationError

_NO_FIGURES = (
    "There is nothing to draw yet: nothing has been decided, audited or measured. Review some of "
    "the queue first."
)


def make_report(
    engine: Engine, workspace: Workspace, slug: str, *, asked_by: Identity | None = None
) -> bytes:
    """Return a project's report as one HTML file.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        asked_by: Who wants it; None for whoever has the command line, and with it the database.

    Raises:
        NotFoundError: If there is no such project.
        NotAllowedError: If there is a lead, and it is somebody else who asks.
    """
    _check(engine, asked_by)
    return make_page(collect_facts(engine, workspace, slug)).encode()


def write_report(engine: Engine, workspace: Workspace, slug: str, path: Path) -> Path:
    """Write a project's report; the file appears when it is complete.

    Raises:
        NotFoundError: If there is no such project.
        WorkspaceError: If the file cannot be written; an older one stays as it was.
    """
    content = make_report(engine, workspace, slug)
    with open_export(path) as file:
        file.write(content)
    return path


def make_slides(
    engine: Engine, workspace: Workspace, slug: str, *, asked_by: Identity | None = None
) -> bytes:
    """Return the figures as an archive of PNG and SVG files, each the size of a slide.

    Raises:
        ConfigurationError: If there is nothing to draw.
        NotFoundError: If there is no such project.
        NotAllowedError: If there is a lead, and it is somebody else who asks.
    """
    _check(engine, asked_by)
    buffer = io.BytesIO()
    with make_zip(buffer) as archive:
        for name, content in _list_slides(collect_facts(engine, workspace, slug)):
            archive.write(name, content, is_packed=name.endswith(".png"))
    return buffer.getvalue()


def write_slides(engine: Engine, workspace: Workspace, slug: str, folder: Path) -> list[Path]:
    """Write the figures into a folder, each as PNG of 1,920 by 1,080 pixels and as SVG.

    Raises:
        ConfigurationError: If there is nothing to draw.
        NotFoundError: If there is no such project.
        WorkspaceError: If they cannot be written.
    """
    written = []
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in _list_slides(collect_facts(engine, workspace, slug)):
        with open_export(folder / name) as file:
            file.write(content)
        written.append(folder / name)
    return written


def _check(engine: Engine, asked_by: Identity | None) -> None:
    if asked_by is not None:
        check_lead(engine, asked_by, "take the report away")


def _list_slides(facts: ReportFacts) -> Iterator[tuple[str, bytes]]:
    drawings = draw_all(facts)
    if not drawings:
        raise ConfigurationError(_NO_FIGURES)
    for number, drawing in enumerate(drawings, start=1):
        stem = f"{number}-{drawing.name}"
        yield f"{stem}.png", make_png(drawing)
        yield f"{stem}.svg", make_svg(drawing, on_white=True).encode()
