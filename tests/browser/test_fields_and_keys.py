"""Fields and keys of the review: whatever had the focus, the next key decides, or says why not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from relabel.db.decisions.history import fetch_history
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from scripts.serving import Server, wait_until_idle
from tests.browser.presses import wait_for_example, wait_until_answered

pytestmark = pytest.mark.browser


def actions(server: Server, slug: str) -> list[str]:
    """Return what was decided, oldest first, from the database itself."""
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        rows = fetch_history(engine, get_project(engine, slug).id, page_size=500).rows
        return [row.action for row in reversed(rows)]
    finally:
        engine.dispose()


def use_the_note(page: Page) -> None:
    page.keyboard.press("n")
    page.keyboard.type("m k x 1 keys in a note")
    page.keyboard.press("Enter")


def use_the_text_filter(page: Page) -> None:
    page.get_by_label("Text contains", exact=True).click()
    page.keyboard.type("a")
    page.keyboard.press("Enter")


def leave_the_text_filter(page: Page) -> None:
    page.get_by_label("Text contains", exact=True).click()
    page.keyboard.press("Escape")


def use_the_reviewer(page: Page) -> None:
    page.get_by_label("Reviewer", exact=True).click()
    page.keyboard.type("x")
    page.keyboard.press("Enter")


def use_the_order(page: Page) -> None:
    page.get_by_role("combobox", name="Sort by").click()
    page.get_by_role("option", name="Mean loss").click()


def use_the_order_by_keys(page: Page) -> None:
    page.get_by_role("combobox", name="Sort by").click()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")


def leave_the_order(page: Page) -> None:
    page.get_by_role("combobox", name="Sort by").click()
    page.keyboard.press("Escape")


def use_the_classes(page: Page) -> None:
    page.get_by_role("combobox", name="Given label").click()
    page.get_by_role("option").first.click()
    wait_until_idle(page)  # the list stays open, and is drawn anew
    page.keyboard.press("Escape")


def use_the_switch(page: Page) -> None:
    page.get_by_text("Network disagrees").click()


def use_a_segment(page: Page) -> None:
    page.get_by_text("Influence", exact=True).first.click()


USES = [
    use_the_note,
    leave_the_text_filter,
    use_the_reviewer,
    use_the_switch,
    use_a_segment,
    leave_the_order,
    use_the_order_by_keys,
    use_the_order,
    use_the_text_filter,
    use_the_classes,
]


def test_after_any_field_the_next_key_decides(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=docs")
    page.get_by_text("Which suspects").click()
    for number, use in enumerate(USES, start=1):
        wait_until_idle(page)
        use(page)
        page.wait_for_function("document.activeElement.type !== 'text'")
        wait_until_idle(page)
        shown = wait_for_example(page)
        page.keyboard.press("x")
        wait_for_example(page, other_than=shown)
        wait_until_answered(page)
        wait_until_idle(page)
        assert actions(server, "docs") == ["exclude"] * number, use.__name__


def test_undo_brings_the_note_back_with_the_example(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=digits")
    shown = wait_for_example(page)
    note = page.get_by_label("Note", exact=True).first  # the last one's may still be on its way out
    page.keyboard.press("n")
    page.keyboard.type("looks like a 4")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    page.keyboard.press("a")
    wait_for_example(page, other_than=shown)
    expect(note).to_have_value("")
    page.keyboard.press("u")
    expect(note).to_have_value("looks like a 4")
    expect(page.get_by_text("The example and its note are here again")).to_be_visible()
    assert wait_for_example(page) == shown


def test_keys_that_decide_nothing_say_why(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=digits")
    wait_for_example(page)
    page.keyboard.press("o")
    expect(page.get_by_text("O does nothing here: ")).to_be_visible()
    page.keyboard.press("u")
    expect(page.get_by_text("There is nothing to undo.")).to_be_visible()
    wait_until_idle(page)
    held: list[Route] = []
    page.route("**/picture/**", lambda route: held.append(route))
    page.reload()
    page.wait_for_function("document.documentElement.dataset.keys === 'listening'")
    wait_until_idle(page)
    page.keyboard.press("x")
    expect(page.get_by_text("X did nothing: its picture is still loading.")).to_be_visible()
    assert held
    for route in held:
        route.continue_()
    wait_for_example(page)
    assert actions(server, "digits") == []
    page.keyboard.press("x")
    expect(page.get_by_text("Recorded: ")).to_be_visible()
    assert actions(server, "digits") == ["exclude"]


def test_enter_takes_the_suggestion_unless_a_field_or_a_button_has_the_focus(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=digits")
    shown = wait_for_example(page)
    use_the_note(page)
    wait_until_idle(page)
    wait_for_example(page)
    assert actions(server, "digits") == []
    page.keyboard.press("Enter")
    following = wait_for_example(page, other_than=shown)
    wait_until_answered(page)
    assert actions(server, "digits") == ["relabel"]
    page.get_by_role("button", name="Ambiguous").focus()
    page.keyboard.press("Enter")
    wait_for_example(page, other_than=following)
    wait_until_answered(page)
    assert actions(server, "digits") == ["relabel", "ambiguous"]


def test_keys_are_changed_kept_in_the_browser_and_refused_where_another_has_them(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=digits")
    first = wait_for_example(page)
    page.keyboard.press("?")
    page.get_by_role("button", name="K: change this key to keep").click()
    for key, refusal in [
        ("x", "X is the key to exclude. Press another one, or change that one first."),
        ("v", "V is the key to type another value (Enter sets it, Esc leaves), in other projects."),
        ("5", "5 names a class or begins a number."),
    ]:
        page.keyboard.press(key)
        expect(page.get_by_text(refusal)).to_be_visible()
    page.keyboard.press("j")
    expect(page.get_by_text("J it is, in this browser.")).to_be_visible()
    expect(page.get_by_role("group", name="Decide").get_by_text("J", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    expect(page.get_by_text("K is no key of the review. ? shows them.")).to_be_visible()
    page.reload()
    assert wait_for_example(page) == first
    page.keyboard.press("j")
    second = wait_for_example(page, other_than=first)
    page.keyboard.press("?")
    page.get_by_role("button", name="Reset to the usual keys").click()
    page.keyboard.press("k")  # closes the table, and decides
    wait_for_example(page, other_than=second)
    wait_until_answered(page)
    assert actions(server, "digits") == ["keep", "keep"]


_STAGE = """
() => [...document.querySelectorAll('[class*="st-key-suspect"] *')]
  .map(host => host.shadowRoot?.querySelector('[data-example-id]')).find(Boolean)
"""


def test_a_picture_is_seen_at_its_pixels_and_moved_by_keys_and_by_dragging(
    page: Page, look_at: Callable[..., None]
):
    look_at(page, "/review?project=digits")
    wait_for_example(page)
    picture = page.get_by_alt_text("Train example with the given label").first
    fitting = picture.bounding_box()
    page.keyboard.press("z")
    expect(page.get_by_role("button", name="Zoom")).to_have_attribute("aria-pressed", "true")
    zoomed = picture.bounding_box()
    assert fitting is not None
    assert zoomed is not None
    assert zoomed["width"] > fitting["width"]
    stage = page.evaluate_handle(_STAGE).as_element()
    assert stage is not None
    place = stage.evaluate("stage => stage.scrollTop")
    page.keyboard.press("ArrowDown")
    assert stage.evaluate("stage => stage.scrollTop") > place
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 180, steps=4)
    page.mouse.up()
    assert stage.evaluate("stage => stage.scrollTop") < place + 120
    page.keyboard.press("Escape")
    assert picture.bounding_box() == fitting
    picture.click()
    assert (picture.bounding_box() or {})["width"] == zoomed["width"]
    picture.click()
    assert picture.bounding_box() == fitting
