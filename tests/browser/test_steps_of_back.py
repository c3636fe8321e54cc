"""The Back button: one step for each page and inspected example, none for what a page writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, TimeoutError, expect

from scripts.serving import Server, wait_until_idle
from tests.browser.presses import wait_for_example, wait_until_shown
from tests.conftest import copy_workspace

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(
    built_demos: Path,
    tmp_path_factory: pytest.TempPathFactory,
    port: int,
    serve: Callable[..., Server],
) -> Iterator[Server]:
    """One server for all: what they decide they take back."""
    workspace = copy_workspace(built_demos, tmp_path_factory.mktemp("steps") / "workspace")
    with serve(workspace, port) as running:
        yield running


def count_steps(page: Page) -> int:
    length: int = page.evaluate("history.length")
    return length


def choose(page: Page, label: str, option: str) -> None:
    """Choose in a box; one that opens while the page is still moving closes again by itself."""
    wait_until_idle(page)
    wanted = page.get_by_role("option", name=option, exact=True)
    for _ in range(3):
        page.get_by_role("combobox", name=label).click()
        try:
            wanted.wait_for(timeout=5_000)
        except TimeoutError:
            page.keyboard.press("Escape")
        else:
            break
    wanted.click()


def test_filters_and_decisions_of_the_review_are_no_steps(
    new_page: Page, server: Server, open_page: Callable[..., None]
):
    page = new_page  # of a tab that has been about, only fifty steps are kept
    open_page(page, "/overview?project=digits")
    page.get_by_role("link", name="Review", exact=True).click()
    page.wait_for_url("**/review**")
    wait_for_example(page)
    steps = count_steps(page)
    page.get_by_text("Which suspects").click()
    choose(page, "Sort by", "Mean loss")
    page.wait_for_url("**signal=mean_loss**")
    page.get_by_text("Network disagrees").click()
    page.wait_for_url("**disagrees=true**")
    wait_until_idle(page)
    page.locator("h1").click()
    shown = wait_for_example(page)
    page.keyboard.press("k")
    wait_for_example(page, other_than=shown)
    page.keyboard.press("u")
    page.wait_for_url(f"**example={shown}**")
    wait_until_shown(page, shown)
    assert count_steps(page) == steps
    page.go_back()
    page.wait_for_url("**/overview?project=digits")
    expect(page.get_by_role("heading", name="Handwritten digits")).to_be_visible()


def test_back_from_an_example_returns_to_the_queue_as_it_was(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/queue?project=docs&signal=mean_loss&page=2")
    queue = page.url
    page.get_by_role("option", name="Suspect 51: ").click()
    page.wait_for_url("**/inspect**")
    wait_until_idle(page)
    first = page.url
    page.get_by_role("button", name="Next").click()
    page.wait_for_url(lambda url: url != first)
    wait_until_idle(page)
    # Within a second of Next, another page takes the place of the example (history.js).
    page.wait_for_timeout(1100)
    page.get_by_role("button", name="Review this example").click()
    page.wait_for_url("**/review**")
    wait_until_idle(page)
    for expected in (re.compile(".*/inspect.*"), first, queue):
        wait_until_idle(page)
        page.go_back()
        page.wait_for_url(expected)
    expect(page.get_by_role("option", name="Suspect 51: ")).to_be_visible()


def test_back_to_another_projects_page_shows_that_project(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/queue?project=docs")
    page.get_by_role("option", name="Suspect 1: ").click()
    page.wait_for_url("**/inspect**")
    wait_until_idle(page)
    page.get_by_role("link", name="Overview").click()
    page.wait_for_url("**/overview**")
    choose(page, "Project", "Handwritten digits")
    expect(page.get_by_role("heading", name="Handwritten digits")).to_be_visible()
    page.wait_for_timeout(2500)  # a younger address might be one that the browser sent late
    page.go_back()
    page.wait_for_url("**/inspect**")
    wait_until_idle(page)
    assert page.get_by_role("alert").count() == 0
    expect(page.get_by_role("heading", name="Proponents")).to_be_visible()
    expect(page.get_by_label("Project", exact=True)).to_have_value("Documentation by subject")


def test_the_bare_address_is_no_step_that_leads_back_to_itself(
    new_page: Page, server: Server, open_page: Callable[..., None]
):
    page = new_page  # of a tab that has been about, only fifty steps are kept
    open_page(page, "/")
    page.wait_for_url("**/overview")
    assert count_steps(page) == 2  # the empty tab, and the overview
    page.go_back()
    assert page.url == "about:blank"


@pytest.mark.parametrize(
    ("address", "page_name"), [("/queue/2?project=docs", "queue"), ("/history/a/b/", "history")]
)
def test_an_address_below_a_page_leads_to_the_page(
    page: Page, server: Server, open_page: Callable[..., None], address: str, page_name: str
):
    open_page(page, address)
    expect(page.get_by_role("heading", name=page_name.capitalize(), exact=True)).to_be_visible()
    assert re.search(rf"/{page_name}(\?|$)", page.url)
    if page_name == "queue":
        expect(page.get_by_role("option", name="Suspect 51: ")).to_be_visible()


def test_another_order_begins_at_its_first_page(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/queue?project=docs&page=3")
    expect(page.get_by_role("option", name="Suspect 101: ")).to_be_visible()
    choose(page, "Sort by", "Mean loss")
    expect(page.get_by_role("option", name="Suspect 1: ")).to_be_visible()
