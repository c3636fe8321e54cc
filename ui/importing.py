"""A new project, or more examples for one that exists: data, preview, name, import."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import streamlit as st

from tracin_core.errors import TracInError
from tracin_core.importing.growth import can_grow, describe_other_texts
from tracin_core.importing.looking import Understood
from tracin_core.jobs.launching import start_job
from tracin_core.reviews.jobs import Job
from tracin_core.reviews.project_management import list_projects
from tracin_core.reviews.projects import Project
from tracin_core.sources import ImportOptions, Preview
from tracin_core.sources.backups import BackupFoundError
from tracin_core.sources.formats import IMPORTERS
from ui.failures import told_on_page
from ui.import_options import draw_meaning, draw_reading
from ui.import_preview import draw_preview, without_switches
from ui.import_reading import describe_without_roles, name_data, read_data
from ui.import_source import choose_data, forget_upload
from ui.import_summary import summarize
from ui.names import suggest_slug
from ui.plain_text import escape_markdown
from ui.restoring import draw_restoration
from ui.session import PROJECT_KEY, distinct_titles, get_engine, get_workspace, taken_names

_DEMOS = "python -m tracin_core demo all"


def draw_data_import() -> Job | None:
    """Draw the way from data into a project, a new one or one that exists.

    Returns:
        The import that was started, or None.
    """
    if not list_projects(get_engine()):
        st.caption(
            "There is no project yet. Bring your own data here; or, to look around first, build "
            "the two demo projects in a terminal and reload this page:"
        )
        st.code(_DEMOS, language="bash")
    path = choose_data()
    if path is None:
        return None
    key = name_data(path)
    if _is_backup(path, key):
        st.info(
            f"“{escape_markdown(path.name)}” is a backup of a project. It is not imported, it is "
            "restored: with its decisions, scores and checkpoints."
        )
        draw_restoration(path, "import")
        return None
    growing = _choose_grown(key)
    understood = _draw_understanding(path, key, growing)
    return None if understood is None else _draw_import(path, understood, key, growing)


def _draw_understanding(path: Path, key: str, growing: Project | None) -> Understood | None:
    """Draw what the data is taken for, to be changed; None where it cannot be imported so."""
    with told_on_page():
        reading = draw_reading(key, expanded=growing is None and _is_unreadable(path, key))
        found, error = _look(path, reading, growing)
        preview = found.preview if found else _find_columns(path, reading, growing)
        if preview is None:
            # Of data that cannot be read there is but this box yet.
            st.error(escape_markdown(without_switches(error, folders=True)))
            return None
        st.subheader("What was understood", anchor=False)
        summary = st.container()
        into = growing.slug if growing else ""
        options = draw_meaning(preview, f"{key}-{hash(reading)}-{into}")
        if options != preview.options or error:
            found, error = _look(path, options, growing)
        with summary:
            if found is None:
                folders = IMPORTERS[preview.format].layout == "folders"
                st.error(escape_markdown(without_switches(error, folders=folders)))
                return None
            st.markdown(escape_markdown(summarize(found)))
            other = growing and describe_other_texts(growing, found.preview.options)
            if other:
                st.warning(escape_markdown(other))
            draw_preview(found.preview)
        return found
    return None


def _find_columns(path: Path, reading: ImportOptions, growing: Project | None) -> Preview | None:
    """Return what is found in data that is not as it should be, for a person to say what is what.

    Of data for a project whose columns it has not, that is what would be found for a new one.
    """
    found = _look(path, reading)[0] if growing else None
    return found.preview if found else describe_without_roles(path, reading)


def _is_unreadable(path: Path, key: str) -> bool:
    """Tell whether the data cannot be read without a word from the person; found out once."""
    kept = f"{key}-unreadable"
    if kept not in st.session_state:
        is_read = _try_to_read(path, key) == "read"
        st.session_state[kept] = (
            not is_read and describe_without_roles(path, ImportOptions()) is None
        )
    return bool(st.session_state[kept])


def _is_backup(path: Path, key: str) -> bool:
    """Return whether data is a backup of a project, by the reading that comes first anyway."""
    return _try_to_read(path, key) == "backup"


def _try_to_read(path: Path, key: str) -> str:
    """Return what comes of data without a word from the person, found out once.

    Returns:
        "backup", "read", or "unreadable".
    """
    kept = f"{key}-first"
    if kept not in st.session_state:
        try:
            found, _ = _look(path, ImportOptions())
            st.session_state[kept] = "unreadable" if found is None else "read"
        except BackupFoundError:
            st.session_state[kept] = "backup"
    return str(st.session_state[kept])


def _look(
    path: Path, options: ImportOptions, growing: Project | None = None
) -> tuple[Understood | None, str]:
    """Return what is understood, or why nothing is."""
    try:
        with st.spinner("Reading the data"):
            return read_data(path, options, growing), ""
    except BackupFoundError:
        raise
    except TracInError as error:
        return None, str(error)


def _draw_import(
    path: Path, understood: Understood, key: str, growing: Project | None
) -> Job | None:
    st.subheader("Import", anchor=False)
    preview = understood.preview
    if growing:
        slug, title = growing.slug, None
    else:
        slug, title = _draw_name(path, key)
    usable = preview.num_usable > 0 and bool(slug)
    pressed = st.button("Import", type="primary", key="import", disabled=not usable)
    st.caption("It is copied into the workspace; what you pointed to stays as it is.")
    if not pressed or not slug:
        return None
    with told_on_page():
        options: dict[str, Any] = {"path": str(path), "options": preview.options.to_json()}
        if title:
            options["title"] = title
        if understood.state is not None:
            options["seen"] = asdict(understood.state)
        if understood.kept is not None:
            options["kept_plan"] = str(understood.kept.path)
        job = start_job(get_engine(), get_workspace(), slug, "import", options)
        forget_upload("import")
        return job
    return None


def _choose_grown(key: str) -> Project | None:
    """Draw the choice between a new project, None, and one that exists, if any can grow."""
    projects = [project for project in list_projects(get_engine()) if can_grow(project)]
    if not projects:
        return None
    target = st.segmented_control(
        "Import into",
        ["new", "grow"],
        format_func={"new": "A new project", "grow": "A project that exists"}.__getitem__,
        default="new",
        required=True,
        key=f"{key}-into",
    )
    if target != "grow":
        return None
    titles = distinct_titles(projects)
    slugs, open_now = list(titles), st.session_state.get(PROJECT_KEY)
    slug = st.selectbox(
        "Project to add to",
        slugs,
        index=slugs.index(open_now) if open_now in slugs else 0,
        format_func=lambda one: titles[one],
        key=f"{key}-grown",
        width=400,
    )
    st.caption(
        "The data is read as the project's was. Only what is new is added; every decision stays, "
        "and so do the scores so far."
    )
    return next(project for project in projects if project.slug == slug)


def _draw_name(path: Path, key: str) -> tuple[str, str]:
    taken = taken_names()
    suggested = suggest_slug(path.name, taken)
    with st.container(horizontal=True, vertical_alignment="top"):
        slug = st.text_input(
            "Name",
            value=suggested,
            max_chars=64,
            key=f"{key}-slug",
            help="For folders, addresses and commands: lower-case letters, digits, “-” and “_”.",
            width=260,
        )
        title = st.text_input(
            "Title",
            value=suggested.replace("-", " ").capitalize(),
            max_chars=120,
            key=f"{key}-title",
            help="For people.",
            width=400,
        )
    name = slug.strip()
    if name in taken:
        st.warning(
            f"There is a project named “{escape_markdown(name)}” already. Choose another name, "
            "or add to that one."
        )
        return "", title.strip()
    return name, title.strip()
