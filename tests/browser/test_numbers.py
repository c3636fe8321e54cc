"""The review of numbers in a real browser: typed digits become the correction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from relabel.db.decisions.history import HistoryRow, fetch_history
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from scripts.serving import Server, wait_until_idle
from tests.browser.presses import wait_for_example, wait_until_answered

pytestmark = pytest.mark.browser


@pytest.fixture
def built_projects(built_houses: Path) -> Path:
    return built_houses


def read_events(server: Server) -> list[HistoryRow]:
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        return list(fetch_history(engine, get_project(engine, "houses").id).rows)
    finally:
        engine.dispose()


def test_digits_type_the_new_number_and_enter_sets_it(
    server: Server, page: Page, open_page: Callable[..., None]
) -> None:
    open_page(page, "/review?project=houses")
    first = wait_for_example(page)
    page.keyboard.type("98765", delay=60)
    expect(page.get_by_label("New value")).to_have_value("98765")
    page.keyboard.press("Enter")
    second = wait_for_example(page, other_than=first)
    wait_until_answered(page)
    [event] = read_events(server)
    assert (event.example_id, event.action, event.new_value) == (first, "relabel", 98765.0)
    # The keys decide again, about the next suspect.
    page.keyboard.press("k")
    wait_for_example(page, other_than=second)
    wait_until_answered(page)
    assert [one.action for one in read_events(server)] == ["keep", "relabel"]
    open_page(page, "/history?project=houses")
    expect(page.get_by_text("98,765").first).to_be_visible()


def test_escape_leaves_the_field_and_decides_nothing(
    server: Server, page: Page, open_page: Callable[..., None]
) -> None:
    open_page(page, "/review?project=houses")
    first = wait_for_example(page)
    page.keyboard.press("v")
    page.keyboard.type("55", delay=60)
    page.keyboard.press("Escape")
    page.wait_for_timeout(500)
    assert read_events(server) == []
    assert wait_for_example(page) == first


def test_a_point_of_the_map_opens_its_row(
    server: Server, page: Page, open_page: Callable[..., None]
) -> None:
    open_page(page, "/queue?project=houses&form=map")
    points = page.locator(".js-plotly-plot .scatterlayer .trace").last.locator("path.point")
    expect(points.first).to_be_visible()
    points.last.click(force=True)
    page.wait_for_url("**/inspect?**example=*")
    wait_until_idle(page)
    expect(page.get_by_text("residual").first).to_be_visible()
