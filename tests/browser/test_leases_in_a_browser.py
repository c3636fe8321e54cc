"""Two people with a browser each: what lies before one is not before the other, and comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from relabel.db.engine import open_database, reading
from relabel.db.schema import LeaseRow
from scripts.serving import Server
from tests.browser.presses import wait_for_example, wait_until_answered
from tests.browser.shared_project import build_shared_project

pytestmark = pytest.mark.browser


@pytest.fixture
def built_projects(tmp_path: Path) -> Path:
    return build_shared_project(tmp_path / "built")


@pytest.fixture
def server(server: Server) -> Server:
    """A server for nobody in particular: people say who they are."""
    server.stop()
    server.reviewer = ""
    server.start()
    return server


def open_as(browser: Browser, server: Server, name: str) -> Page:
    page = browser.new_context().new_page()
    page.goto(f"{server.url}/review")
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Begin").click()
    return page


def read_held(server: Server) -> dict[str, set[int]]:
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        with reading(engine) as connection:
            rows = connection.execute(select(LeaseRow.holder, LeaseRow.example_id)).all()
    finally:
        engine.dispose()
    return {holder: {row[1] for row in rows if row[0] == holder} for holder, _ in rows}


def test_two_people_review_side_by_side(browser: Browser, server: Server):
    ann, bob = (open_as(browser, server, name) for name in ("Ann", "Bob"))
    seen: dict[str, set[int]] = {"Ann": set(), "Bob": set()}
    for _ in range(4):
        for name, page in (("Ann", ann), ("Bob", bob)):
            page.bring_to_front()
            shown = wait_for_example(page)
            seen[name].add(shown)
            page.wait_for_timeout(100)
            page.keyboard.press("k")
            wait_for_example(page, other_than=shown)
            wait_until_answered(page)
            assert page.get_by_text("Nothing of yours was recorded").count() == 0
    assert not seen["Ann"] & seen["Bob"]
    held = read_held(server)
    assert not held["typed:ann"] & held["typed:bob"]
    assert held["typed:bob"]
    expect(ann.get_by_role("textbox", name="Reviewer")).to_have_value("Ann")


def wait_until(check: Callable[[], bool], page: Page) -> None:
    for _ in range(1200):
        if check():
            return
        page.wait_for_timeout(50)
    raise AssertionError("It did not come about within a minute.")


def test_a_page_that_is_left_gives_back_what_it_held(browser: Browser, server: Server):
    # What is on its way to a page that is left comes back by itself, two minutes later.
    def open_review(go: Callable[[], object], page: Page) -> None:
        with page.expect_response("**/suspects") as answered:
            go()
        answered.value.finished()
        wait_for_example(page)
        wait_until(lambda: len(read_held(server).get("typed:ann", ())) > 2, page)

    page = browser.new_context().new_page()
    page.goto(f"{server.url}/review")
    page.get_by_label("Your name").fill("Ann")
    open_review(page.get_by_role("button", name="Begin").click, page)
    page.get_by_role("link", name="History").click()
    wait_until(lambda: not read_held(server), page)
    open_review(page.get_by_role("link", name="Review").click, page)
    page.goto("about:blank")
    wait_until(lambda: not read_held(server), page)
