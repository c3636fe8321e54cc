"""Errors in plain words, wherever on a page they happen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from relabel.errors import RunFolderError
from tracin_core.errors import TracInError
from ui.navigation import make_page
from ui.wording import escape_markdown

_LOG = logging.getLogger(__name__)


def describe_failure(error: Exception) -> str:
    """Return what a person reads of a part of a page that failed, whatever the reason.

    What nobody has foreseen is logged with its details, which are no words for a screen.
    """
    if isinstance(error, TracInError):
        return str(error)
    _LOG.error("A part of a page failed.", exc_info=error)
    return (
        f"This part of the page cannot be shown ({type(error).__name__}): a file of the run "
        "may be damaged. Score again on Runs; the app's terminal has the details."
    )


@contextmanager
def report_errors(told: set[str] | None = None, *, without: str = "") -> Iterator[None]:
    """Show an error a person can act on in its place, and go on with the rest of the page.

    A fragment runs by itself, so what it raises never reaches the frame around the page.

    Args:
        told: What has been said already, by other parts of the same page; it is not said again.
        without: For a part that the rest of the page can do without, in words such as "Decisions
            can be made without it": then an error that nobody has foreseen is told and logged
            in its place, too.
    """
    try:
        yield
    except TracInError as error:
        words = str(error)
        if told is not None:
            if words in told:
                return
            told.add(words)
        st.error(escape_markdown(words))
        if isinstance(error, RunFolderError):
            st.page_link(make_page("runs"), label="Score again on Runs")
        if without:
            st.caption(without)
    except Exception as error:
        if not without:
            raise
        words = describe_failure(error)
        if told is None or words not in told:
            st.error(escape_markdown(words))
            st.caption(without)
        if told is not None:
            told.add(words)


def report_bug(error: Exception) -> bool:
    """Report that something unforeseen happened; the details go to the terminal.

    Args:
        error: What a page raised and nobody caught.

    Returns:
        True: Streamlit's own box, with its links to other sites, is not needed.
    """
    _LOG.error("A page failed; this is a bug.", exc_info=error)
    st.error(
        "Something unforeseen went wrong on this page; what you decided before is safe. "
        "Reload the page. If it happens again, the terminal that the app runs in has the details."
    )
    return True
