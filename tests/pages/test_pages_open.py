"""Every page opens for both demos, and answers a wrong address in words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

PAGES = ("projects", "runs", "overview", "queue", "inspect", "compare", "review", "history")


@pytest.mark.parametrize("project", ["digits", "docs"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_without_an_exception(
    open_app: Callable[..., AppTest], page: str, project: str
):
    app = open_app(page, project=project)
    assert not app.exception
    assert not app.error
    assert app.title


@pytest.mark.parametrize("mode", ["test", "new"])
@pytest.mark.parametrize("project", ["digits", "docs"])
def test_inspect_opens_in_each_mode(open_app: Callable[..., AppTest], project: str, mode: str):
    app = open_app("inspect", project=project, show=mode)
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize(
    "example", ["0", "-1", "999999999", "9" * 40, "one", "1; DROP TABLE example", "<b>7</b>", "²"]
)
def test_an_unknown_example_is_explained(open_app: Callable[..., AppTest], example: str):
    app = open_app("inspect", project="digits", example=example)
    assert not app.exception
    assert app.error


@pytest.mark.parametrize("page", PAGES)
def test_an_unknown_project_is_explained_and_another_one_shown(
    open_app: Callable[..., AppTest], page: str
):
    app = open_app(page, project="<script>")
    assert not app.exception
    assert app.warning
    assert app.title


@pytest.mark.parametrize("number", ["0", "-3", "10000", "x"])
def test_a_page_number_beyond_the_queue_shows_a_page_that_exists(
    open_app: Callable[..., AppTest], number: str
):
    app = open_app("queue", project="digits", page=number)
    assert not app.exception
    assert not app.error


def test_an_example_of_another_project_is_explained(open_app, engine):
    from relabel.db.examples import find_by_positions
    from relabel.db.projects import get_project

    other = find_by_positions(engine, get_project(engine, "docs").id, None, "train", [0])[0]
    app = open_app("inspect", project="digits", example=str(other.id))
    assert not app.exception
    assert "another project" in app.error[0].value


def test_filters_without_a_match_say_so(open_app: Callable[..., AppTest]):
    app = open_app("queue", project="docs", contains="no snippet says this: 100% _sure_")
    assert not app.exception
    assert app.info


def test_the_overview_says_what_ranks_the_queue_and_counts_what_is_suggested(open_app):
    app = open_app("overview", project="digits")
    assert "Queue ranked by: Suspicion" in [each.value for each in app.text]
    assert "Given label against the suggested one" in [each.value for each in app.header]
