"""Two tabs on the same suspect: one decision stands, the other person is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from relabel.db.decisions.history import fetch_history
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from scripts.serving import Server
from tests.browser.presses import wait_for_example, wait_until_answered

pytestmark = pytest.mark.browser


def test_the_second_of_two_decisions_on_one_suspect_fails_visibly(
    context: BrowserContext, server: Server, open_page: Callable[..., None]
):
    first, second = context.new_page(), context.new_page()
    for tab in (first, second):
        open_page(tab, "/review?project=digits")
        expect(tab.get_by_role("button", name="Keep")).to_be_visible()
    shown = wait_for_example(first)
    assert wait_for_example(second) == shown

    for tab, key in ((first, "k"), (second, "x")):
        tab.bring_to_front()  # a tab behind another one paints nothing
        tab.wait_for_timeout(100)
        tab.keyboard.press(key)
    for tab in (first, second):
        wait_for_example(tab, other_than=shown)
        wait_until_answered(tab)

    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        rows = fetch_history(engine, get_project(engine, "digits").id).rows
    finally:
        engine.dispose()
    assert [row.example_id for row in rows] == [shown]
    warnings = [tab.get_by_role("alert").count() for tab in (first, second)]
    assert sorted(warnings) == [0, 1], "exactly one of the two is told that it came too late"
    late = (first, second)[warnings.index(1)]
    expect(late.locator(f".alert .small-example[data-id='{shown}'] img")).to_be_visible()


def test_what_the_other_tab_has_decided_is_not_shown_as_undecided(
    context: BrowserContext, server: Server, open_page: Callable[..., None]
):
    """Each has suspects ahead, and hears with each answer what the other has decided of them."""
    first, second = context.new_page(), context.new_page()
    for tab in (first, second):
        open_page(tab, "/review?project=digits")
        wait_for_example(tab)
    first.bring_to_front()  # a tab behind another one paints nothing
    for _ in range(4):
        shown = wait_for_example(first)
        first.wait_for_timeout(100)
        first.keyboard.press("k")
        wait_for_example(first, other_than=shown)
        wait_until_answered(first)
    # The first is refused and comes back; the second stood there before that was known. Those
    # behind them are not shown at all.
    stood = []
    second.bring_to_front()
    for _ in range(3):
        stood.append(wait_for_example(second))
        second.wait_for_timeout(100)
        second.keyboard.press("x")
        wait_for_example(second, other_than=stood[-1])
        wait_until_answered(second)
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        rows = fetch_history(engine, get_project(engine, "digits").id).rows
    finally:
        engine.dispose()
    events = [(row.action, row.example_id) for row in reversed(rows)]
    kept = [example_id for _, example_id in events[:4]]
    assert [action for action, _ in events] == ["keep"] * 4 + ["exclude"]
    assert stood == [kept[0], kept[1], kept[0]]
    assert events[4] == ("exclude", kept[0])
    assert second.get_by_role("alert").count() == 1
