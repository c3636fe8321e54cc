"""What is done to a whole project: rename, put away, back up, delete."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import streamlit as st

from tracin_core.files import expand_path
from tracin_core.housekeeping.deleting import remove_project
from tracin_core.housekeeping.disk import describe_bytes
from tracin_core.jobs.launching import start_job
from tracin_core.numerals import counted
from tracin_core.reviews.jobs import Job
from tracin_core.reviews.progress import review_progress
from tracin_core.reviews.project_management import (
    archive_project,
    rename_project,
    unarchive_project,
)
from tracin_core.reviews.projects import Project
from ui.failures import told_on_page
from ui.navigation import open_page
from ui.plain_text import escape_markdown
from ui.project_jobs import PARAMETER
from ui.session import get_engine, get_workspace


def manage_project(project: Project, disk_bytes: int) -> None:
    """Open the dialog with all that can be done to a project."""

    @st.dialog(f"Manage {escape_markdown(project.slug)}", width="medium")
    def draw() -> None:
        with told_on_page():
            _draw_names(project)
            _draw_backup(project)
            _draw_archive(project)
            _draw_delete(project, disk_bytes)

    draw()


def _draw_names(project: Project) -> None:
    title = st.text_input("Title", project.title, max_chars=120, key=f"title-{project.slug}")
    description = st.text_area(
        "Description", project.description, max_chars=2000, height=80, key=f"about-{project.slug}"
    )
    changed = (title, description) != (project.title, project.description)
    if st.button("Save", key=f"save-{project.slug}", disabled=not changed):
        rename_project(get_engine(), project.id, title=title, description=description)
        st.rerun()


def _draw_backup(project: Project) -> None:
    st.subheader("Back up", anchor=False)
    path = st.text_input(
        "Write it to",
        str(_suggest_backup(project)),
        key=f"backup-{project.slug}",
        help="A path on the machine of the app. When it is written, it can be downloaded, too.",
    )
    trainings = st.checkbox(
        "With the checkpoints that no run uses", key=f"backup-trainings-{project.slug}"
    )
    if st.button("Back up", key=f"start-backup-{project.slug}"):
        options = {"path": str(expand_path(path).absolute()), "with_trainings": trainings}
        _go_to(start_job(get_engine(), get_workspace(), project.slug, "backup", options))


def _suggest_backup(project: Project) -> Path:
    name = f"{project.slug}-{datetime.now():%Y-%m-%d-%H%M}.zip"
    return get_workspace().root / "backups" / name


def _draw_archive(project: Project) -> None:
    st.subheader("Archive", anchor=False)
    if project.archived_at is None:
        st.caption("Takes it out of all lists. Nothing is deleted, and it can be brought back.")
        if st.button("Archive", key=f"archive-{project.slug}"):
            archive_project(get_engine(), project.id)
            st.rerun()
    elif st.button("Bring it back", key=f"unarchive-{project.slug}"):
        unarchive_project(get_engine(), project.id)
        st.rerun()


def _draw_delete(project: Project, disk_bytes: int) -> None:
    st.subheader("Delete", anchor=False)
    progress = review_progress(get_engine(), project.id)
    st.caption(
        f"Deletes {counted(progress.total, 'train example')} and the test examples, "
        f"{counted(progress.decisions, 'decision')}, every run, and "
        f"{describe_bytes(disk_bytes)} of files. "
        "There is no way back but a backup."
    )
    typed = st.text_input(
        f"Type {escape_markdown(project.slug)} to confirm", key=f"confirm-{project.slug}"
    )
    sure = typed.strip() == project.slug
    if st.button("Delete for good", key=f"delete-{project.slug}", disabled=not sure):
        with st.spinner("Deleting"):
            remove_project(get_engine(), get_workspace(), project.slug)
        st.rerun()


def _go_to(job: Job) -> None:
    open_page("projects", **{PARAMETER: job.id})
