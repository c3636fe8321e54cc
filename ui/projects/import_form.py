"""Data becomes a new project, or more examples for one that exists: preview, name, import.

What was understood of the data is told in two or three sentences. Each way to understand it is
read once a session, as a large file takes a while.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import streamlit as st

from relabel.db.jobs import Job
from relabel.db.project_rules import Project
from relabel.db.projects import list_projects
from relabel.importers.formats.registry import IMPORTERS
from relabel.importers.ingest.growth import can_grow, describe_other_texts
from relabel.importers.options import ImportOptions
from relabel.importers.preview import ImportPreview, list_columns_apart, preview_apart
from relabel.importers.readers.backups import BackupFoundError
from relabel.importers.records import Preview
from relabel.jobs.launch import start_job
from relabel.text import counted, shorten
from relabel.workspace import find_program_name
from tracin_core.errors import TracInError
from ui.failures import report_errors
from ui.projects.import_options import draw_meaning, draw_reading
from ui.projects.import_preview import draw_preview, without_switches
from ui.projects.restore import draw_restoration
from ui.session import PROJECT_KEY, distinct_titles, get_engine, get_workspace, taken_names
from ui.uploads import choose_data, forget_upload, name_of_data
from ui.wording import escape_markdown, suggest_slug

_DEMOS = f"{find_program_name()} demo all"
_PREVIEWS = "import-previews"
_KEPT = 4  # previews a session keeps; each has some small pictures
_ROWS = 20
_NOUNS = {"image": "image", "text": "text", "table": "row"}


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


def _is_backup(path: Path, key: str) -> bool:
    """Return whether data is a backup of a project, by the reading that comes first anyway."""
    return _try_to_read(path, key) == "backup"


def _is_unreadable(path: Path, key: str) -> bool:
    """Return whether the data cannot be read without a word from the person; found out once."""
    kept = f"{key}-unreadable"
    if kept not in st.session_state:
        is_read = _try_to_read(path, key) == "read"
        st.session_state[kept] = (
            not is_read and describe_without_roles(path, ImportOptions()) is None
        )
    return bool(st.session_state[kept])


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
) -> tuple[ImportPreview | None, str]:
    """Return what is understood, or why nothing is."""
    try:
        with st.spinner("Reading the data"):
            return read_data(path, options, growing), ""
    except BackupFoundError:
        raise
    except TracInError as error:
        return None, str(error)


def read_data(path: Path, options: ImportOptions, growing: Project | None) -> ImportPreview:
    """Return what is understood of the data; the second time from memory.

    Args:
        path: The data.
        options: How it is to be understood.
        growing: The project that it is to be added to; None for a new one.

    Raises:
        BackupFoundError: If it is a backup of a project.
        TracInError: If the data cannot be imported like that.
    """
    kept: dict[str, ImportPreview] = st.session_state.setdefault(_PREVIEWS, {})
    # What is new depends on what came before.
    into = f"{growing.id} {len(growing.settings.get('imports', ()))}" if growing else ""
    mark = f"{name_data(path)} {into} {json.dumps(options.to_json(), sort_keys=True)}"
    if mark not in kept:
        place = (get_workspace(), growing.slug) if growing else None
        found = preview_apart(path, options, rows=_ROWS, growing=place, keep_in=get_workspace())
        # Of the plans, each with a hundred bytes an example on the disk, the last one is kept.
        kept.update({name: replace(one, kept=None) for name, one in kept.items()})
        kept[mark] = found
        while len(kept) > _KEPT:
            del kept[next(iter(kept))]
    return kept[mark]


def name_data(path: Path) -> str:
    """Return a short name of data as it is now, for keys: changed data gets another one."""
    try:
        found = path.stat()
        state = f"{found.st_mtime_ns} {found.st_size}"
    except OSError:
        state = "missing"
    return hashlib.sha256(f"{path} {state}".encode()).hexdigest()[:12]


def _draw_understanding(path: Path, key: str, growing: Project | None) -> ImportPreview | None:
    """Draw what the data is taken for, to be changed; None where it cannot be imported so."""
    with report_errors():
        reading = draw_reading(key, expanded=growing is None and _is_unreadable(path, key))
        found, error = _look(path, reading, growing)
        preview = found.preview if found else _find_columns(path, reading, growing)
        if preview is None:
            # Of data that cannot be read there is but this box yet.
            st.error(escape_markdown(without_switches(error, folders=True)))
            return None
        st.header("What was understood", anchor=False)
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


def describe_without_roles(path: Path, options: ImportOptions) -> Preview | None:
    """Return a table's columns for a person to name, where their roles cannot be told.

    Args:
        path: The data.
        options: How it is to be read.

    Returns:
        A preview without examples, or None where it is no readable table.
    """
    try:
        columns = list_columns_apart(path, options)
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


def summarize(understood: ImportPreview) -> str:
    """Return what data is and how many examples a new project, or an existing one, gets of it."""
    preview, known = understood.preview, understood.num_known
    said = [_describe(preview)] if known is None else _describe_growth(understood, known)
    if preview.num_refused:
        said.append(
            f"{preview.num_refused:,} cannot be used and would be left out; “Problems” says why."
        )
    if preview.num_findings:
        are = "is" if preview.num_findings == 1 else "are"
        said.append(
            f"{preview.num_findings:,} {are} kept but worth a look; "
            f"“{preview.problem_noun.capitalize()}s” says why."
        )
    if preview.duplicates:
        are = "is" if preview.duplicates == 1 else "are"
        said.append(f"{preview.duplicates:,} {are} there more than once and would be taken once.")
    return " ".join(said)


def _describe(preview: Preview) -> str:
    noun = counted(preview.num_usable, _NOUNS.get(preview.kind, "example"))
    kind, answer = _name_format(preview), _describe_answer(preview)
    return f"{kind}: {noun}, each with {answer}; {_describe_splits(preview)}."


def _name_format(preview: Preview) -> str:
    title = IMPORTERS[preview.format].title
    return f"{'An' if title[0] in 'AEIOUaeiou' else 'A'} {title}"


def _describe_growth(understood: ImportPreview, known: int) -> list[str]:
    """Return what is new and what is known."""
    preview = understood.preview
    new = preview.num_usable
    kind = _name_format(preview)
    said = [f"{kind}, in which nothing is new."]
    if new:
        noun = counted(new, f"new {_NOUNS.get(preview.kind, 'example')}")
        said = [f"{kind} with {noun}: {_describe_splits(preview)}."]
    if known:
        is_known = "is" if known == 1 else "are"
        said.append(f"{known:,} {is_known} there already and would stay as decided.")
    if understood.classes_added:
        names = ", ".join(f"“{shorten(name, 40)}”" for name in understood.classes_added[:5])
        more = len(understood.classes_added) - 5
        said.append(f"New classes: {names}{f' and {more:,} more' if more > 0 else ''}.")
    return said


def _describe_answer(preview: Preview) -> str:
    if preview.task == "regression":
        return f"a number, “{shorten(preview.target, 60)}”"
    return f"one of {len(preview.classes):,} classes"


def _describe_splits(preview: Preview) -> str:
    return " and ".join(
        f"{count:,} to {'train' if split == 'train' else 'test'} with"
        for split, count in preview.counts.items()
    )


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


def _draw_import(
    path: Path, understood: ImportPreview, key: str, growing: Project | None
) -> Job | None:
    st.header("Import", anchor=False)
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
    with report_errors():
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


def _draw_name(path: Path, key: str) -> tuple[str, str]:
    taken = taken_names()
    suggested = suggest_slug(name_of_data(get_workspace(), path), taken)
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
