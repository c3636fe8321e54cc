"""Many suspects decided together, by keys and pointer, whatever becomes of the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from scripts.serving import Server, wait_until_idle
from tests.browser.conftest import go
from tests.conftest import copy_workspace

pytestmark = pytest.mark.browser

SELECTED = "[role=option][aria-selected=true]"


def read_actions(workspace: Path) -> list[str]:
    """Return what was recorded, in its order."""
    engine = open_database(f"sqlite:///{workspace / 'tracin.db'}")
    try:
        rows = fetch_history(engine, get_project(engine, "digits").id, page_size=500).rows
        return [row.action for row in reversed(rows)]
    finally:
        engine.dispose()


def test_a_selection_is_decided_and_taken_back_by_keys(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/queue?project=digits")
    cards = page.get_by_role("listbox", name="Suspects").get_by_role("option")
    selected, told = page.locator(SELECTED), page.get_by_role("status").locator("visible=true").last
    total = int(page.locator(".counts").inner_text().split()[0].replace(",", ""))
    # One tab stop; arrows lead on, Space selects, Shift reaches from there.
    cards.first.focus()
    page.keyboard.press("ArrowRight")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(selected).to_have_count(3)
    page.keyboard.press("x")
    expect(told).to_have_text("Recorded: 3 examples excluded.")
    expect(page.locator(".counts")).to_have_text(f"{total - 3:,} of {total:,} left")
    expect(cards.nth(2)).to_contain_text("Excluded")
    page.keyboard.press("u")
    expect(told).to_have_text("Taken back: 3 decisions.")
    expect(cards.nth(2)).not_to_contain_text("Excluded")
    # Many are asked about first. The server is gone for a moment, which loses nothing.
    cards.nth(4).click(modifiers=["Control"])
    cards.nth(15).click(modifiers=["Shift"])
    expect(selected).to_have_count(12)
    page.keyboard.press("k")
    expect(page.get_by_text("Keep: 12 examples?")).to_be_visible()
    page.keyboard.press("Escape")
    expect(told).to_have_text("Nothing was decided.")
    page.keyboard.press("k")
    server.kill()
    page.keyboard.press("Enter")
    expect(told).to_contain_text("Not recorded yet: the server does not answer.")
    server.start()
    expect(told).to_have_text("Recorded: 12 examples kept.")
    # Without a selection a key decides about the card with the frame, and goes on.
    cards.nth(20).focus()
    page.keyboard.press("b")
    expect(told).to_have_text("Recorded: 1 example ambiguous.")
    expect(cards.nth(21)).to_be_focused()
    page.keyboard.press("a")
    expect(selected).to_have_count(100)
    page.keyboard.press("Escape")
    expect(selected).to_have_count(0)
    kept = ["exclude"] * 3 + ["undo"] * 3 + ["keep"] * 12 + ["ambiguous"]
    assert read_actions(server.workspace) == kept


def test_back_returns_to_the_card_that_was_opened(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/queue?project=digits&given=3")
    card = page.get_by_role("option").locator("visible=true").nth(40)
    chosen = card.get_attribute("data-id")
    card.scroll_into_view_if_needed()
    before = card.bounding_box()
    card.click()
    page.wait_for_url("**/inspect**")
    wait_until_idle(page)
    expect(page.get_by_text("In the queue you came from: ")).to_be_visible()
    page.go_back()
    page.wait_for_url("**/queue**given=3**")
    opened = page.locator(f"[role=option][data-id='{chosen}']")
    expect(opened).to_be_focused()
    after = opened.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 300


def test_a_press_without_a_name_says_so_and_leaves_the_frame_where_it_is(
    page: Page, built_projects: Path, tmp_path: Path, port: int, serve: Callable[..., Server]
):
    workspace = copy_workspace(built_projects, tmp_path / "workspace")
    with serve(workspace, port, "") as server:  # started for nobody
        go(server, page, "/queue?project=digits")
        cards = page.get_by_role("listbox", name="Suspects").get_by_role("option")
        told = page.get_by_role("status").locator("visible=true").last
        cards.nth(2).focus()
        page.keyboard.press("k")
        expect(told).to_contain_text("Not recorded. The reviewer's name is empty.")
        expect(cards.nth(2)).to_be_focused()
        # A selection is not lost either.
        page.keyboard.press("Space")
        page.keyboard.press("x")
        expect(page.locator(SELECTED)).to_have_count(1)
    assert read_actions(workspace) == []


def test_what_somebody_else_decided_first_is_shown_and_the_frame_goes_back_to_it(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/queue?project=digits")
    cards = page.get_by_role("listbox", name="Suspects").get_by_role("option")
    told = page.get_by_role("status").locator("visible=true").last
    taken = int(cards.nth(1).get_attribute("data-id") or 0)
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        record_decision(engine, NewDecision(taken, 0, "bob", "exclude"))
    finally:
        engine.dispose()
    cards.nth(1).focus()
    page.keyboard.press("k")
    expect(told).to_contain_text("Not recorded for 1 example")
    expect(page.locator(f".small-example[data-id='{taken}'] img")).to_be_visible()
    expect(cards.nth(1)).to_be_focused()
    expect(cards.nth(1)).to_contain_text("Excluded")
    # The next press does something: what it spoke of is no longer shown.
    cards.nth(3).focus()
    page.keyboard.press("k")
    expect(told).to_have_text("Recorded: 1 example kept.")
    expect(page.locator(".small-example")).to_have_count(0)


def test_a_group_is_opened_decided_together_and_inspect_stays_in_it(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/queue?project=docs")
    page.get_by_text("Groups", exact=True).click()
    page.get_by_role("radio", name="Nearly the same").click()
    group = page.get_by_role("list", name="Groups").get_by_role("button").first
    number = group.get_attribute("data-id")
    group.click()
    page.wait_for_url(f"**group=near-{number}**")
    wait_until_idle(page)
    cards = page.get_by_role("listbox", name="Suspects").get_by_role("option")
    count = cards.count()
    assert 0 < count < 50
    cards.first.focus()
    page.keyboard.press("a")
    page.keyboard.press("k")
    recorded = "1 example" if count == 1 else f"{count} examples"
    told = page.get_by_role("status").locator("visible=true").last
    expect(told).to_have_text(f"Recorded: {recorded} kept.")
    page.keyboard.press("Escape")
    cards.first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/inspect**")
    wait_until_idle(page)
    expect(page.get_by_text(f"In the queue you came from: 0 of {count} left")).to_be_visible()
