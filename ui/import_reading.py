"""Previews of data, read once for each way to understand it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import streamlit as st

from tracin_core.errors import TracInError
from tracin_core.importing.looking import Understood, look_at, look_at_columns
from tracin_core.reviews.projects import Project
from tracin_core.sources import ImportOptions, Preview
from ui.session import get_workspace

_PREVIEWS = "import-previews"
_KEPT = 4  # previews a session keeps; each has some small pictures
_ROWS = 20


def name_data(path: Path) -> str:
    """Return a short name of data as it is now, for keys: changed data gets another one."""
    try:
        found = path.stat()
        state = f"{found.st_mtime_ns} {found.st_size}"
    except OSError:
        state = "missing"
    return hashlib.sha256(f"{path} {state}".encode()).hexdigest()[:12]


def read_data(path: Path, options: ImportOptions, growing: Project | None) -> Understood:
    """Return what is understood of the data; the second time from memory.

    Args:
        path: The data.
        options: How it is to be understood.
        growing: The project that it is to be added to; None for a new one.

    Raises:
        BackupFoundError: If it is a backup of a project.
        TracInError: If the data cannot be imported like that.
    """
    kept: dict[str, Understood] = st.session_state.setdefault(_PREVIEWS, {})
    # What is new depends on what came before.
    into = f"{growing.id} {len(growing.settings.get('imports', ()))}" if growing else ""
    mark = f"{name_data(path)} {into} {json.dumps(options.to_json(), sort_keys=True)}"
    if mark not in kept:
        place = (get_workspace(), growing.slug) if growing else None
        found = look_at(path, options, rows=_ROWS, growing=place, keep_in=get_workspace())
        # Of the plans, each with a hundred bytes an example on the disk, the last one is kept.
        kept.update({name: replace(one, kept=None) for name, one in kept.items()})
        kept[mark] = found
        while len(kept) > _KEPT:
            del kept[next(iter(kept))]
    return kept[mark]


def describe_without_roles(path: Path, options: ImportOptions) -> Preview | None:
    """Return a table's columns for a person to name, where their roles cannot be told.

    Args:
        path: The data.
        options: How it is to be read.

    Returns:
        A preview without examples, or None where it is no readable table.
    """
    try:
        columns = look_at_columns(path, options)
    except TracInError:
        return None  # why it cannot be read has been said already
    if not columns:
        return None
    is_image = any(column.kind == "image" for column in columns)
    return Preview(
        format="table",
        kind="image" if is_image else "table",
        task="classification",
        columns=columns,
        options=options,
    )
