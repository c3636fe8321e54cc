"""What every page needs to know: the workspace, the database, the project, the reviewer."""

from __future__ import annotations

import getpass
import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import NoReturn

import streamlit as st
from sqlalchemy import Engine

from relabel.db.engine import is_read_only, open_database
from relabel.db.jobs import ACTIVE, list_jobs
from relabel.db.project_rules import Project
from relabel.db.projects import get_project, list_projects
from relabel.db.runs import Run, current_run
from relabel.db.team.reviewers import Identity, clean_name
from relabel.workspace import (
    DATABASE_VARIABLE,
    WORKSPACE_VARIABLE,
    Workspace,
    resolve_workspace,
)
from tracin_core.errors import TracInError
from ui.address import read_choice, write_choice
from ui.components.memory import recall, remember
from ui.identity import identify, needs_sign_in, preset_name, read_claims
from ui.navigation import open_page
from ui.wording import escape_markdown

REVIEWER_COOKIE = "tracin_reviewer"
LONGEST_TYPED = 80  # characters of a name
PROJECT_KEY = "project"
_REVIEWER_KEY = "reviewer"
_ASKED_KEY, _NAME_FAULT = "asked-reviewer", "reviewer-fault"
_WRITTEN = "project-written"  # which project the address was told last, and when
_ADDRESS_LAG = 2.0  # seconds; more than a browser needs to take over an address


# A decision asks for both a dozen times: without these two it spent a tenth of its time on that.
_engines: dict[Workspace, Engine] = {}
_opening = Lock()


@lru_cache(maxsize=64)
def _resolve(folder: str | None, database: str | None) -> Workspace:
    return resolve_workspace(folder, database)


def get_workspace() -> Workspace:
    """Return the workspace that the environment names."""
    folder = os.environ.get(WORKSPACE_VARIABLE)
    if folder and not Path(folder).is_absolute():
        return resolve_workspace()  # depends on the working directory
    return _resolve(folder, os.environ.get(DATABASE_VARIABLE))


def forget_engines() -> None:
    """Open databases anew when they are asked for next; those that are open stay so."""
    with _opening:
        _engines.clear()


def get_engine() -> Engine:
    """Return the database, opened once a process.

    Raises:
        TracInError: If the workspace or the database cannot be used.
    """
    workspace = get_workspace()
    engine = _engines.get(workspace)
    if engine is None:
        with _opening:
            engine = _engines.get(workspace)
            if engine is None:
                workspace.prepare_to_look()
                engine = open_database(workspace.database_url, to_look=True)
                _engines[workspace] = engine
    return engine


def choose_project() -> None:
    """Draw the project choice of the sidebar and settle which project this run is about."""
    if is_read_only(get_engine()):
        st.sidebar.warning(
            "This workspace can only be read here: look around and export. Decisions are not "
            "recorded."
        )
    titles = distinct_titles(list_projects(get_engine()))
    if not titles:
        st.session_state[PROJECT_KEY] = None
        return
    if st.session_state.get(PROJECT_KEY) not in titles:
        st.session_state[PROJECT_KEY] = read_choice(PROJECT_KEY, titles, next(iter(titles)))
        _warn_of_unknown_project(st.query_params.get(PROJECT_KEY), titles)
    else:
        _follow_address(titles)
    chosen = st.sidebar.selectbox(
        "Project",
        list(titles),
        format_func=lambda slug: titles[slug],
        key=PROJECT_KEY,
        on_change=_forget_place,
    )
    if chosen is not None:
        _write_project(chosen)


def _follow_address(titles: Mapping[str, str]) -> None:
    """Take the project from the address where Back or Forward has led to another one's page.

    An address that the browser has not yet taken over from the last choice says the old project
    too; that one is young.
    """
    written, since = st.session_state.get(_WRITTEN, ("", 0.0))
    wanted = st.query_params.get(PROJECT_KEY)
    if wanted in titles and wanted != written and time.monotonic() - since > _ADDRESS_LAG:
        st.session_state[PROJECT_KEY] = wanted


def _write_project(slug: str) -> None:
    """Write the project into the address, except at a session's very start.

    The browser part that keeps the address from costing steps of Back is not there yet then.
    """
    first = _WRITTEN not in st.session_state
    if first or st.session_state[_WRITTEN][0] != slug:
        st.session_state[_WRITTEN] = (slug, time.monotonic())
    if not first or PROJECT_KEY in st.query_params:
        write_choice(PROJECT_KEY, slug)


def distinct_titles(projects: Sequence[Project]) -> dict[str, str]:
    """Return titles by short name; where several projects have one title, the name leads.

    Streamlit tells the options of a box apart by what they show, so two equal titles would
    choose each other's project.
    """
    count = Counter(project.title for project in projects)
    return {
        project.slug: project.title
        if count[project.title] == 1
        # At the front, because a narrow box cuts the end.
        else f"{project.slug} · {project.title}"
        for project in projects
    }


def taken_names() -> set[str]:
    """Return the short names that a new project cannot have, those of archived ones too."""
    engine = get_engine()
    return {
        project.slug for project in [*list_projects(engine), *list_projects(engine, archived=True)]
    }


def _forget_place() -> None:
    """Forget the example and the page of the queue, which are the other project's."""
    st.query_params.pop("example", None)
    if "page" in st.session_state:
        st.session_state["page"] = 1
    # A group's number means other examples in another project.
    st.query_params.pop("group", None)
    if "group" in st.session_state:
        st.session_state["group"] = ""


def _warn_of_unknown_project(wanted: str | None, titles: dict[str, str]) -> None:
    if not wanted or wanted in titles:
        return
    shown = escape_markdown(titles[st.session_state[PROJECT_KEY]])
    if wanted in {project.slug for project in list_projects(get_engine(), archived=True)}:
        st.warning(
            f"The project “{escape_markdown(wanted)}” is archived, so “{shown}” is shown. To look "
            "at it again, show the archived ones on Projects, and bring it back under Manage."
        )
        return
    st.warning(
        f"There is no project named “{escape_markdown(wanted[:60])}” here, so “{shown}” is shown. "
        "Choose another one at the left."
    )


def require_project() -> Project:
    """Return the chosen project, or lead to where the first one is made."""
    slug = st.session_state.get(PROJECT_KEY)
    if not slug:
        open_page("projects", show="new")
    return get_project(get_engine(), slug)


def select_project(slug: str) -> None:
    """Choose another project; only a widget's callback may call it, before the page is drawn."""
    st.session_state[PROJECT_KEY] = slug


def require_run(project: Project) -> Run:
    """Return the project's current run, or stop the page with the way to the first one."""
    run = current_run(get_engine(), project.id)
    if run is None:
        words, label = _explain_missing_run(project)
        st.info(words)
        if st.button(label, type="primary", key="to-runs"):
            open_page("runs")
        st.stop()
    return run


def _explain_missing_run(project: Project) -> tuple[str, str]:
    """Return why there is nothing to rank yet, and the word for what leads on."""
    latest = list_jobs(get_engine(), project.slug, limit=1)
    state = latest[0].state if latest else ""
    if state in ACTIVE:
        return (
            f"This project is being worked on ({latest[0].progress:.0%} done), and has no scores "
            "yet. The queue is there when it has been scored.",
            "See how far it is",
        )
    if state in ("failed", "cancelled"):
        how = "has failed" if state == "failed" else "was cancelled"
        return (
            "This project has no scores yet, so there is nothing to rank: the last work on it "
            f"{how}. Runs says more, and starts it again.",
            "Open Runs",
        )
    return (
        "This project has no scores yet, so there is nothing to rank. Train a model on it; the "
        "queue is there when it has been scored.",
        "Train and score",
    )


def run_folder(project: Project, run: Run) -> Path:
    """Return the folder that holds a run's signals and vectors."""
    return get_workspace().project_folder(project.slug) / run.folder


def require_sign_in() -> None:
    """Stop before anything is shown, where people have to sign in and nobody has."""
    if not needs_sign_in() or read_claims(_signed_in()) is not None:
        return
    st.title("Sign in", anchor=False)
    if st.user.is_logged_in:
        st.error("The provider names neither a verified address nor a number of your account.")
        st.button("Sign out", on_click=st.logout, key="sign-out")
        st.stop()
    st.caption("What you decide is recorded under the account that you sign in with.")
    st.button("Sign in", type="primary", on_click=st.login, key="sign-in")
    st.stop()


def _signed_in() -> dict[str, object]:
    claims: dict[str, object] = dict(st.user.to_dict())
    return claims if claims.get("is_logged_in") else {}


def choose_reviewer() -> None:
    """Draw who reviews in the sidebar: a name, which proves nothing, or who has signed in."""
    if needs_sign_in():
        st.sidebar.text(f"Signed in as {reviewer_name()}")
        st.sidebar.button("Sign out", on_click=st.logout, key="sign-out")
        return
    if _REVIEWER_KEY not in st.session_state:
        st.session_state[_REVIEWER_KEY] = recall(REVIEWER_COOKIE) or preset_name()
    st.sidebar.text_input(
        "Reviewer",
        key=_REVIEWER_KEY,
        max_chars=LONGEST_TYPED,
        placeholder="Your name",
        help="Stands beside each decision you make. It names you; it does not prove who you are.",
    )
    if name := reviewer_name():
        with st.sidebar:
            remember(REVIEWER_COOKIE, name, key="remember-reviewer")


def require_reviewer() -> Identity:
    """Return who reviews; the name is asked for once, and kept by the browser."""
    if not current_reviewer().key:
        _ask_name()
    return current_reviewer()


def _ask_name() -> NoReturn:
    """Draw the question for the name, and stop the page."""
    with st.form("who-reviews", width=420):
        st.text_input("Your name", key=_ASKED_KEY, max_chars=LONGEST_TYPED)
        st.caption(
            "It stands beside each decision you make, and this browser keeps it. It names you; it "
            "does not prove who you are."
        )
        st.form_submit_button("Begin", type="primary", on_click=_take_name, key="begin")
    if fault := st.session_state.pop(_NAME_FAULT, ""):
        st.error(escape_markdown(fault))
    st.stop()


def _take_name() -> None:
    try:
        st.session_state[_REVIEWER_KEY] = clean_name(str(st.session_state[_ASKED_KEY]))
    except TracInError as error:
        st.session_state[_NAME_FAULT] = str(error)


def current_reviewer() -> Identity:
    """Return who reviews in this session; without a name where nobody has said one yet."""
    if needs_sign_in():
        found = read_claims(_signed_in())
        return found or Identity("", "oidc")
    return identify(str(st.session_state.get(_REVIEWER_KEY) or ""))


def reviewer_name() -> str:
    """Return the name that decisions are recorded under; "" where nobody has said one yet."""
    return current_reviewer().name


def screen_name() -> str:
    """Return what tells this screen from the other ones of the same person."""
    name: str = st.session_state.setdefault("screen", secrets.token_hex(8))
    return name


def system_account() -> str:
    """Return the account that the server runs under, or "" where it has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # as in some containers
        return ""
