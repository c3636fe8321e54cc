"""Export the current labels of a project, in any of the formats of ``exporters``.

The file is written whole or not at all, and all its rows show the same moment.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, overload

from sqlalchemy import Connection, Engine

from relabel.db.engine import reading_one_state
from relabel.db.project_rules import Project, project_in
from relabel.db.team.reviewers import Identity, check_lead
from relabel.export.rows import Selection, find_evidence, lay_out, read_chunks
from relabel.exporters.exported import Exported, OwnFile, ignore_note
from relabel.exporters.registry import OF_SOURCE, Exporter, get_exporter
from relabel.files import open_export
from relabel.runs.held_out import HeldOut
from tracin_core.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What is asked for, beside the project and the place.

    Attributes:
        exporter: The form.
        held_out: By split, what models say that have not seen its examples.
        reviewed_only, excluded, evidence, own, media, tell: As in ``export_labels``.
    """

    exporter: Exporter
    reviewed_only: bool
    excluded: str | None
    evidence: bool
    held_out: Mapping[str, HeldOut]
    own: OwnFile
    media: Path | None
    tell: Callable[[str], None]


EXCLUDED_CHOICES = ("keep", "drop")


@overload
def export_labels(
    engine: Engine,
    project_id: int,
    *,
    format: str,
    path: None = None,
    reviewed_only: bool = False,
    held_out: HeldOut | None = None,
    held_out_test: HeldOut | None = None,
    excluded: str | None = None,
    evidence: bool = False,
    own: OwnFile | None = None,
    media: Path | None = None,
    tell: Callable[[str], None] = ignore_note,
    asked_by: Identity | None = None,
) -> bytes: ...


@overload
def export_labels(
    engine: Engine,
    project_id: int,
    *,
    format: str,
    path: Path | str,
    reviewed_only: bool = False,
    held_out: HeldOut | None = None,
    held_out_test: HeldOut | None = None,
    excluded: str | None = None,
    evidence: bool = False,
    own: OwnFile | None = None,
    media: Path | None = None,
    tell: Callable[[str], None] = ignore_note,
    asked_by: Identity | None = None,
) -> Path: ...


def export_labels(
    engine: Engine,
    project_id: int,
    *,
    format: str,
    path: Path | str | None = None,
    reviewed_only: bool = False,
    held_out: HeldOut | None = None,
    held_out_test: HeldOut | None = None,
    excluded: str | None = None,
    evidence: bool = False,
    own: OwnFile | None = None,
    media: Path | None = None,
    tell: Callable[[str], None] = ignore_note,
    asked_by: Identity | None = None,
) -> bytes | Path:
    """Export every example with its current label, train split first, by position.

    Columns: ``key``, ``split``, ``media_path`` (image projects), ``text`` (text projects) or the
    columns of the data (tables; one that is called like a column of ours gets ``field_`` before
    its name), ``given_label`` and ``label`` (names; the latter is the current one) or, for
    regression, ``given_value`` and ``value``, ``status``, ``excluded``, and of the effective
    decision ``action``, ``note``, ``reviewer`` and ``decided_at`` (ISO 8601, UTC), empty where
    there is none; ``version`` counts the example's events, and ``source_place`` says where the
    example is in the data that was imported (empty where that is not known). Excluded examples
    are in the file, marked. With ``held_out`` or ``held_out_test`` there are, at the end,
    ``suggested_label`` and ``suggested_probability`` or, for regression, ``suggested_value``: what
    models say that have not seen the example, and empty where none were asked. With ``evidence``
    there follow what the current run predicts, the example's rank and every signal.

    Args:
        engine: The database.
        project_id: The project.
        format: A name in ``EXPORTERS``, such as "csv" (cells that a spreadsheet would take for a
            formula get a leading apostrophe), "parquet" or "jsonl" (both lossless).
        path: Where to write; the file appears when it is complete. None for bytes.
        reviewed_only: Leave out pending and skipped examples.
        held_out: Of the project's current run, as ``runs.held_out.open_of_run`` gives it.
        held_out_test: The same of its test examples.
        excluded: "keep" or "drop" excluded examples; None for what is usual in the format: a data
            set to train on has none, a table has them, marked.
        evidence: Also what the current run predicts, and how it ranks.
        own: How a person's own file is given back.
        media: Folder of the project's pictures, for formats that hold them.
        tell: Told what a person should know of the file.
        asked_by: Who wants it; None for whoever has the command line, and with it the database.

    Returns:
        The file's content, or its path where one was given.

    Raises:
        ConfigurationError: If the format is unknown, or cannot hold such a project.
        NotFoundError: If there is no such project.
        WorkspaceError: If the file cannot be written; an older one stays as it was.
        NotAllowedError: If there is a lead, and it is somebody else who asks.
    """
    if asked_by is not None:
        check_lead(engine, asked_by, "export the labels")
    if excluded not in (None, *EXCLUDED_CHOICES):
        raise ConfigurationError(
            f"Found {excluded!r} for excluded examples. Expected one of keep, drop."
        )
    exporter = get_exporter(format)
    wanted = _Wanted(
        exporter=exporter,
        reviewed_only=reviewed_only,
        excluded=excluded,
        evidence=evidence or exporter.needs_evidence,
        held_out={
            split: said
            for split, said in (("train", held_out), ("test", held_out_test))
            if said is not None
        },
        own=own or OwnFile(),
        media=media,
        tell=tell,
    )
    # The classes and the labels that name them must be of one moment: a project can grow.
    with reading_one_state(engine) as connection:
        project = project_in(connection, project_id)
        exporter.check_fits(project.kind, project.task)
        if path is None:
            buffer = io.BytesIO()
            _write(connection, project, buffer, wanted)
            return buffer.getvalue()
        target = Path(path)
        with open_export(target) as file:
            _write(connection, project, file, wanted)
        return target


def _write(connection: Connection, project: Project, file: BinaryIO, wanted: _Wanted) -> None:
    wants_evidence = wanted.evidence or wanted.own.beside
    evidence = find_evidence(connection, project.id) if wants_evidence else None
    layout = lay_out(connection, project, with_suggestions=bool(wanted.held_out), evidence=evidence)
    exporter = wanted.exporter
    usual = "drop" if exporter.drops_excluded else "keep"
    keeps_excluded = (wanted.excluded or usual) == "keep"
    whole = (layout.content,) if layout.content else ()
    content = (*whole, *layout.field_names.values())
    exported = Exported(
        columns=layout.columns,
        kind=project.kind,
        task=project.task,
        slug=project.slug,
        title=project.title,
        classes=project.classes,
        content=content,
        settings=project.settings,
        reviewed_only=wanted.reviewed_only,
        keeps_excluded=keeps_excluded,
        own=wanted.own,
        media=wanted.media,
        tell=wanted.tell,
    )
    selection = Selection(reviewed_only=wanted.reviewed_only, keeps_excluded=keeps_excluded)
    # A file that is given back has rows of its own, which it has to recognise.
    everything = exporter.extension == OF_SOURCE
    chunks = read_chunks(
        connection,
        project,
        layout,
        Selection() if everything else selection,
        wanted.held_out,
        evidence,
    )
    exporter.write(file, exported, chunks)
