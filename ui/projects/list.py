"""The list of projects, and what is done to one of them: rename, put away, back up, delete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import streamlit as st

from relabel.db.bulk import next_positions
from relabel.db.jobs import Job, active_job
from relabel.db.project_rules import Project
from relabel.db.projects import archive_project, list_projects, rename_project, unarchive_project
from relabel.db.runs import Run, current_run
from relabel.db.stats import ReviewProgress, review_progress
from relabel.jobs.launch import start_job
from relabel.projects.delete import (
    finish_removal,
    list_unfinished_removals,
    measure_disk_use,
    remove_project,
)
from relabel.text import counted, format_bytes, shorten
from relabel.workspace import Workspace
from tracin_core.files import expand_path
from ui.failures import report_errors
from ui.navigation import open_page
from ui.overview.summary import count_decided
from ui.projects.jobs import PARAMETER
from ui.runs.jobs import kind_word
from ui.session import get_engine, get_workspace, select_project
from ui.wording import KIND_WORDS, escape_markdown, moment_text, percent

_TITLE_LENGTH = 80  # characters
_PAGE_SIZE = 20
_DISK_SECONDS = 60  # how long a measured size is shown; a folder of 60,000 images takes 0.3 s


@dataclass(frozen=True)
class ProjectSummary:
    """What the list says about a project."""

    project: Project
    num_train: int
    num_test: int
    progress: ReviewProgress
    run: Run | None
    job: Job | None
    disk_bytes: int


def draw_projects() -> None:
    """Draw the projects, those at work first shown as such, the archived ones on demand."""
    projects = list_projects(get_engine())
    archived = list_projects(get_engine(), archived=True)
    _draw_unfinished_deletions()
    if archived and st.toggle(f"Show {len(archived)} archived", key="show-archived"):
        projects = [*projects, *archived]
    if not projects:
        st.caption("No project is in use. Make one from your own data under “Import data”.")
        return
    shown = projects
    if len(projects) > _PAGE_SIZE:
        page = st.pagination(-(-len(projects) // _PAGE_SIZE), key="projects-page")
        shown = projects[(page - 1) * _PAGE_SIZE : page * _PAGE_SIZE]
    for project in shown:
        _draw_project(summarize_project(project))


def _draw_unfinished_deletions() -> None:
    """Describe what is left of deletions that were cut off, and offer to go on with them."""
    for left in list_unfinished_removals(get_engine(), get_workspace()):
        st.warning(
            f"“{escape_markdown(left.slug)}” is being deleted, or its deletion was cut off: "
            f"{escape_markdown(format_bytes(left.bytes))} of its files are still there, and rows "
            "of it in the database."
        )
        if st.button("Go on deleting", key=f"finish-{left.slug}"):
            with report_errors():
                finish_removal(get_engine(), get_workspace(), left.slug)
                st.rerun()


def summarize_project(project: Project) -> ProjectSummary:
    """Gather what the list says about a project."""
    engine = get_engine()
    counts = next_positions(engine, project.id)
    return ProjectSummary(
        project=project,
        num_train=counts.get("train", 0),
        num_test=counts.get("test", 0),
        progress=review_progress(engine, project.id),
        run=current_run(engine, project.id),
        job=active_job(engine, project.slug),
        disk_bytes=_measure(get_workspace(), project.slug),
    )


@st.cache_data(ttl=_DISK_SECONDS, show_spinner=False)
def _measure(workspace: Workspace, slug: str) -> int:
    return measure_disk_use(workspace, slug).total


def _draw_project(summary: ProjectSummary) -> None:
    project = summary.project
    with (
        st.container(border=True, key=f"project-{project.slug}"),
        st.container(horizontal=True, vertical_alignment="center"),
    ):
        with st.container(gap="xsmall"):
            st.markdown(f"**{escape_markdown(shorten(project.title, _TITLE_LENGTH))}**")
            for line in describe_project(summary):
                st.caption(escape_markdown(line))
        opened = st.button(
            "Open",
            key=f"open-{project.slug}",
            on_click=select_project,
            args=(project.slug,),
            disabled=project.archived_at is not None,
        )
        if st.button("Manage", key=f"manage-{project.slug}"):
            manage_project(project, summary.disk_bytes)
    if opened:
        open_page("overview" if summary.run else "runs")


def describe_project(summary: ProjectSummary) -> list[str]:
    """Return what there is to say about a project, in two lines."""
    project, decided = summary.project, count_decided(summary.progress)
    answer = (
        f"number “{project.target}”"
        if project.task == "regression"
        else counted(len(project.classes), "class", "classes")
    )
    content = [
        project.slug,
        f"{KIND_WORDS.get(project.kind, project.kind)}, {answer}",
        f"{summary.num_train:,} train and {counted(summary.num_test, 'test example')}",
    ]
    if summary.disk_bytes:  # small texts lie in the database
        content.append(format_bytes(summary.disk_bytes))
    share = decided / summary.num_train if summary.num_train else 0.0
    state = [f"{decided:,} reviewed ({percent(share)})"]
    state.append(
        f"scored {moment_text(summary.run.created_at)}" if summary.run else "not scored yet"
    )
    if summary.job is not None:
        state.append(f"{kind_word(summary.job)} at {percent(summary.job.progress)}")
    if project.archived_at is not None:
        state.append(f"archived {moment_text(project.archived_at)}")
    return [" · ".join(content), " · ".join(state)]


def manage_project(project: Project, disk_bytes: int) -> None:
    """Open the dialog with all that can be done to a project."""

    @st.dialog(f"Manage {escape_markdown(project.slug)}", width="medium")
    def draw() -> None:
        with report_errors():
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
    st.header("Back up", anchor=False)
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
    st.header("Archive", anchor=False)
    if project.archived_at is None:
        st.caption("Takes it out of all lists. Nothing is deleted, and it can be brought back.")
        if st.button("Archive", key=f"archive-{project.slug}"):
            archive_project(get_engine(), project.id)
            st.rerun()
    elif st.button("Bring it back", key=f"unarchive-{project.slug}"):
        unarchive_project(get_engine(), project.id)
        st.rerun()


def _draw_delete(project: Project, disk_bytes: int) -> None:
    st.header("Delete", anchor=False)
    progress = review_progress(get_engine(), project.id)
    st.caption(
        f"Deletes {counted(progress.total, 'train example')} and the test examples, "
        f"{counted(progress.decisions, 'decision')}, every run, and "
        f"{format_bytes(disk_bytes)} of files. "
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
