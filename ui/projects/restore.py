"""A backup is chosen, looked at, and restored under a name that is free."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import streamlit as st

from relabel.jobs.launch import start_job
from relabel.projects.restore import summarise_backup_apart
from relabel.text import counted, format_bytes
from ui.failures import report_errors
from ui.navigation import open_page
from ui.projects.jobs import PARAMETER
from ui.session import get_engine, get_workspace, taken_names
from ui.uploads import choose_file, forget_upload
from ui.wording import escape_markdown, moment_text, suggest_slug

_UPLOAD = "backup"
_EXAMPLE = "/home/ada/reviews-2026-01-31.zip"


def draw_restore() -> None:
    """Draw the choice of a backup and start to restore it."""
    st.caption("A backup that this program has written comes back with all decisions.")
    # Of any name: a copy may have lost its ending, and what a file is stands in it.
    file = choose_file(_UPLOAD, "Path of the backup", _EXAMPLE, None, unpack=False)
    if file is not None:
        draw_restoration(file, _UPLOAD)


def draw_restoration(file: Path, upload: str) -> None:
    """Draw what is in a backup, the choice of a name, and the button that restores it.

    Args:
        file: The backup.
        upload: Which choice it came from, as in ``choose_file``; emptied when it is restored.
    """
    with report_errors():
        manifest = summarise_backup_apart(file)
        held = [counted(manifest.counts.get(one, 0), one) for one in ("example", "decision")]
        st.text(
            f"{manifest.title} ({manifest.slug}): {', '.join(held)}, "
            f"{format_bytes(manifest.total_bytes)}, written "
            f"{moment_text(datetime.fromisoformat(manifest.created_at))}"
        )
        slug = _choose_name(file, manifest.slug)
        if slug and st.button("Restore", type="primary", key="start-restore"):
            options = {"path": str(file), "slug": slug}
            job = start_job(get_engine(), get_workspace(), slug, "restore", options)
            forget_upload(upload)
            open_page("projects", show="list", **{PARAMETER: job.id})


def _choose_name(file: Path, former: str) -> str:
    taken = taken_names()
    slug = st.text_input(
        "Name",
        former if former not in taken else suggest_slug(former, taken),
        max_chars=64,
        key=f"restore-{file}",
        help="Another one than it had, where that is taken.",
        width=300,
    ).strip()
    if slug not in taken:
        return slug
    st.warning(f"There is a project named “{escape_markdown(slug)}” already. Choose another name.")
    return ""
