"""Every page in a real browser: drawn, in order, and without a word to the outside."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import ConsoleMessage, Page, Request, Response, WebSocket, expect

from scripts.serving import Server, wait_until_idle
from tests.browser.conftest import go, listening
from tests.browser.presses import wait_for_example

pytestmark = pytest.mark.browser

PAGES = ("projects", "runs", "overview", "queue", "inspect", "compare", "value", "history")


def test_a_cold_server_draws_a_deep_link_and_asks_nobody_outside(page: Page, server: Server):
    check_deep_links(page, server, "review")


@pytest.mark.parametrize("name", PAGES)
def test_a_deep_link_draws_its_page_and_asks_nobody_outside(
    page: Page, standing_server: Server, name: str
):
    check_deep_links(page, standing_server, name)


def check_deep_links(page: Page, server: Server, name: str) -> None:
    outside: list[str] = []
    errors: list[str] = []

    def note_request(request: Request) -> None:
        if not request.url.startswith((server.url, "data:", "blob:")):
            outside.append(request.url)

    def note_response(response: Response) -> None:
        if response.status >= 400:
            errors.append(f"{response.status} {response.url}")

    def note_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    heard = {"request": note_request, "response": note_response, "console": note_console}
    with listening(page, **heard):
        for project in ("digits", "docs"):
            go(server, page, f"/{name}?project={project}")
            if name != "overview":
                title = name.capitalize()
                expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
            title = f"{name.capitalize()} · {project} · TracIn Relabel"
            expect(page).to_have_title(title)
            expect(page.get_by_test_id("stSidebarLogo")).to_be_visible()
            page.wait_for_timeout(500)  # what nobody asks for by then, nobody asks for
            assert page.locator("[data-testid=stException]").count() == 0
            assert outside == []
            assert errors == []


def test_opening_the_queue_takes_one_connection_and_one_run(
    page: Page, server: Server, open_page: Callable[..., None]
):
    happened: list[str] = []

    def note_connection(connection: WebSocket) -> None:
        happened.append("connected")
        # All that a browser sends while nobody does anything asks for a run of the page.
        connection.on("framesent", lambda _: happened.append("asked for a run"))

    def note_request(request: Request) -> None:
        if request.url.endswith("/_stcore/health"):
            happened.append(request.url.removeprefix(server.url))

    with listening(page, websocket=note_connection, request=note_request):
        open_page(page, "/queue?project=digits&page=2")
        page.wait_for_timeout(500)
    assert sorted(happened) == ["/_stcore/health", "asked for a run", "connected"]


def test_a_click_in_the_queue_opens_the_example_and_back_returns(
    page: Page, look_at: Callable[..., None]
):
    look_at(page, "/queue?project=digits")
    first = page.get_by_role("option", name="Suspect 1: ")
    chosen = first.get_attribute("data-id")
    first.click()
    page.wait_for_url("**/inspect**")
    wait_until_idle(page)
    assert f"example={chosen}" in page.url
    assert "project=digits" in page.url
    expect(page.get_by_role("heading", name="Proponents")).to_be_visible()
    page.go_back()
    page.wait_for_url("**/queue**")
    expect(page.get_by_role("option", name="Suspect 1: ")).to_be_visible()


def test_a_cell_and_a_bar_of_the_overview_open_their_examples(
    page: Page, look_at: Callable[..., None]
):
    look_at(page, "/overview?project=digits")
    page.locator(".st-key-confusion .textpoint text").nth(13).click(force=True)
    page.wait_for_url("**/queue?**given=1&suggested=3")
    wait_until_idle(page)
    page.go_back()
    page.wait_for_url("**/overview**")
    wait_until_idle(page)
    # What the cell asked for is not asked for again.
    page.locator(".st-key-balance .point path").first.click(force=True)
    page.wait_for_url("**/queue?given=0&project=digits")


def test_a_click_on_a_neighbour_inspects_it(page: Page, look_at: Callable[..., None]):
    look_at(page, "/inspect?project=docs")
    neighbour = page.get_by_role("list", name="Opponents").get_by_role("button").first
    chosen = neighbour.get_attribute("data-id")
    neighbour.click()
    page.wait_for_url(f"**example={chosen}**")
    wait_until_idle(page)
    expect(page.get_by_role("heading", name="Opponents")).to_be_visible()


def test_a_note_is_written_and_left_by_keys(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=digits")
    wait_for_example(page)
    page.keyboard.press("n")
    expect(page.get_by_label("Note", exact=True)).to_be_focused()
    page.keyboard.type("kax 5 smudged")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Note", exact=True)).not_to_be_focused()
    wait_until_idle(page)
    wait_for_example(page)
    page.keyboard.press("k")
    page.get_by_text("Recorded:").wait_for()
    page.goto(f"{server.url}/history?project=digits")
    wait_until_idle(page)
    expect(page.get_by_role("list", name="Events").get_by_text("kax 5 smudged")).to_be_visible()
