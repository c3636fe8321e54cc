"""The list of projects: what each holds, how far its review is, what it takes on the disk."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from tracin_core.config import Workspace
from tracin_core.housekeeping.deleting import finish_removal, list_unfinished_removals
from tracin_core.housekeeping.disk import describe_bytes, measure_disk_use
from tracin_core.numerals import counted
from tracin_core.reviews.grow import next_positions
from tracin_core.reviews.jobs import Job, active_job
from tracin_core.reviews.progress import Progress, review_progress
from tracin_core.reviews.project_management import list_projects
from tracin_core.reviews.projects import Project, Run, current_run
from tracin_core.texts import shorten
from ui.failures import told_on_page
from ui.jobs import kind_word
from ui.navigation import open_page
from ui.overview import count_decided
from ui.plain_text import escape_markdown
from ui.project_actions import manage_project
from ui.session import get_engine, get_workspace, select_project
from ui.wording import KIND_WORDS, moment_text, percent

_TITLE_LENGTH = 80  # characters
_PAGE_SIZE = 20
_DISK_SECONDS = 60  # how long a measured size is shown; a folder of 60,000 images takes 0.3 s


@dataclass(frozen=True)
class ProjectSummary:
    """What the list says about a project."""

    project: Project
    num_train: int
    num_test: int
    progress: Progress
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
    """Say what is left of deletions that were cut off, and offer to go on with them."""
    for left in list_unfinished_removals(get_engine(), get_workspace()):
        st.warning(
            f"“{escape_markdown(left.slug)}” is being deleted, or its deletion was cut off: "
            f"{escape_markdown(describe_bytes(left.bytes))} of its files are still there, and rows "
            "of it in the database."
        )
        if st.button("Go on deleting", key=f"finish-{left.slug}"):
            with told_on_page():
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
        content.append(describe_bytes(summary.disk_bytes))
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
