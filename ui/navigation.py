"""The pages, their addresses, and how one page opens another."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from ui.wording import escape_markdown

_UNKNOWN = "unknown-page"
_PAGES_FOLDER = Path(__file__).resolve().parent.parent / "pages"
# Address -> title, in the order of the work. Absolute paths, because a folder `pages/` beside the
# script that runs would select Streamlit's legacy navigation.
PAGES = {
    "projects": "Projects",
    "runs": "Runs",
    "overview": "Overview",
    "queue": "Queue",
    "inspect": "Inspect",
    "compare": "Compare",
    "review": "Review",
    "history": "History",
    "team": "Team",
}


def make_page(name: str) -> StreamlitPage:
    """Return Streamlit's page object for an address of ours."""
    return st.Page(
        _PAGES_FOLDER / f"{name}.py",
        title=PAGES[name],
        url_path=name,
    )


def make_home() -> StreamlitPage:
    """Return the page behind the bare address, which leads to the overview.

    Streamlit's default page has no address of its own, so the overview itself as the default
    could not be linked to as `/overview`.
    """
    return st.Page(_go_to_overview, title="Home", default=True, visibility="hidden")


def _go_to_overview() -> None:
    # Streamlit runs the default page for addresses it does not know, too.
    st.session_state[_UNKNOWN] = urlsplit(st.context.url or "").path.strip("/")
    open_page("overview", **st.query_params.to_dict())


def warn_of_unknown_page() -> None:
    """Draw a warning, once, where the address named a page that does not exist."""
    unknown = st.session_state.pop(_UNKNOWN, "")
    if unknown:
        st.warning(
            f"There is no page “{escape_markdown(unknown[:60])}”, so the overview is shown. "
            "The pages stand at the left."
        )


def open_page(name: str, **params: str | int) -> NoReturn:
    """Leave this page for another one, keeping the chosen project.

    Args:
        name: Address of the page.
        **params: Query parameters, for example ``example=17``.
    """
    query = {key: str(value) for key, value in params.items()}
    project = st.session_state.get("project")
    if project:
        # In the address from the start: adding it later would cost a step of the Back button.
        query.setdefault("project", project)
    st.switch_page(make_page(name), query_params=query)
