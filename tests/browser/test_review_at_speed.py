"""The review as fast as a person can: nothing is lost, nothing lands elsewhere, all is said."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from relabel.db.decisions.history import HistoryRow, fetch_history
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from scripts.serving import Server, wait_until_idle
from tests.browser.presses import shown_example, wait_for_example, wait_until_answered

pytestmark = pytest.mark.browser

PRESSES = 200
LONGEST_GAP = 300  # milliseconds
# The server is killed before the first of these presses and started before the second.
OUTAGES = ((60, 75), (130, 145))
MEANING = {"k": "keep", "x": "exclude", "a": "ambiguous"}

# Of every key: the example that stood there, how many presses it sent, and what was then said.
_RECORD = """
() => {
  const find = selector => {
    for (const host of document.querySelectorAll('[class*="st-key-suspect"] *')) {
      const found = host.shadowRoot && host.shadowRoot.querySelector(selector)
      if (found) return found
    }
  }
  const outbox = window.tracinOutbox
  let sent = 0
  const add = outbox.add.bind(outbox)
  outbox.add = entry => { sent += 1; add(entry) }
  window.pressed = []
  window.outcomes = []
  addEventListener("keydown", event => {
    const shown = Number(find("[data-example-id]")?.dataset.exampleId ?? 0)
    window.pressed.push({ key: event.key, shown, sent })
  }, true)
  addEventListener("keydown", () => {
    const last = window.pressed.at(-1)
    last.sent = sent - last.sent
    last.told = find(".idle").textContent
  })
  const ask = window.fetch
  window.fetch = async (...question) => {
    const response = await ask(...question)
    if (String(question[0]).endsWith("/decisions") && response.ok) {
      window.outcomes.push(...(await response.clone().json()).outcomes)
    }
    return response
  }
}
"""


def read_events(server: Server, slug: str) -> list[HistoryRow]:
    """Return the events of a project, oldest first, from the database itself."""
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        rows = fetch_history(engine, get_project(engine, slug).id, page_size=1000).rows
        return list(reversed(rows))
    finally:
        engine.dispose()


def press_at_random(page: Page, server: Server) -> None:
    """Press keys at random gaps while the server dies and comes back."""
    draw = random.Random(0)
    for number in range(PRESSES):
        for killed, started in OUTAGES:
            if number == killed:
                server.kill()
            if number == started:
                server.start()
        page.keyboard.press(draw.choice(list(MEANING)))
        page.wait_for_timeout(draw.randint(0, LONGEST_GAP))


def test_what_is_confirmed_is_recorded_once_on_what_was_shown_though_the_server_dies(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=docs")
    wait_for_example(page)
    page.evaluate(_RECORD)
    press_at_random(page, server)
    wait_until_answered(page)
    pressed: list[dict[str, Any]] = page.evaluate("window.pressed")
    outcomes: list[dict[str, Any]] = page.evaluate("window.outcomes")
    assert len(pressed) == PRESSES
    events = read_events(server, "docs")
    confirmed = {one["token"]: one["example_id"] for one in outcomes if one["recorded"]}
    assert sorted(confirmed.values()) == sorted(event.example_id for event in events)
    assert len({event.example_id for event in events}) == len(events), "decided twice"
    # What was sent is what is there, in the order of the presses, on what each was about.
    sent = [(one["shown"], MEANING[one["key"]]) for one in pressed if one["sent"]]
    refused = [one for one in outcomes if not one["recorded"]]
    assert refused == []
    assert [(event.example_id, event.action) for event in events] == sent
    # No other press was without a word.
    idle = [one for one in pressed if not one["sent"]]
    assert all("did nothing: " in one["told"] for one in idle), idle
    assert len(sent) > PRESSES / 2


def lose_answers(page: Page) -> None:
    """Let no decision reach the server, on a page that is loaded after this.

    On one that is there already the first may pass: what it sends goes another way only some time
    after the browser has said so.
    """
    page.route("**/decisions", lambda route: route.abort())


def test_what_the_server_has_not_answered_survives_a_reload_and_is_said(
    page: Page, server: Server, open_page: Callable[..., None]
):
    lose_answers(page)
    open_page(page, "/review?project=digits")
    first = wait_for_example(page)
    page.keyboard.press("k")
    second = wait_for_example(page, other_than=first)
    page.keyboard.press("n")
    page.keyboard.type("blurred")
    page.keyboard.press("Enter")
    page.keyboard.press("x")
    wait_for_example(page, other_than=second)
    expect(page.get_by_text("Not recorded yet: 2, as the server does not answer")).to_be_visible()
    assert read_events(server, "digits") == []
    # Every other page says so, too, in this tab and after a load.
    waiting = page.get_by_test_id("unsent-decisions")
    page.get_by_role("link", name="Overview").click()
    expect(waiting).to_contain_text("Not recorded yet: 2 decisions, as the server does not answer")
    page.goto(f"{server.url}/history?project=digits")
    expect(waiting).to_contain_text("Not recorded yet: 2 decisions")
    open_page(page, "/review?project=digits")
    assert wait_for_example(page) not in (first, second)
    expect(page.get_by_text("Not recorded yet, from before: 2.")).to_be_visible()
    page.unroute_all()
    wait_until_answered(page)
    events = read_events(server, "digits")
    assert [(one.example_id, one.action, one.note) for one in events] == [
        (first, "keep", ""),
        (second, "exclude", "blurred"),
    ]


def test_an_answer_that_is_lost_is_asked_for_again_and_nothing_recorded_twice(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=digits")
    shown = wait_for_example(page)
    page.evaluate("""() => {
      const ask = window.fetch
      window.lost = []
      window.fetch = async (...question) => {
        const response = await ask(...question)
        if (!String(question[0]).endsWith("/decisions") || window.lost.length) return response
        window.lost.push(...(await response.json()).outcomes) // the server has done it
        throw new TypeError("the connection was lost")
      }
    }""")
    page.keyboard.press("x")
    page.get_by_text("Recorded: ").wait_for()
    wait_until_answered(page)
    assert [one["recorded"] for one in page.evaluate("window.lost")] == [True]
    assert [(one.example_id, one.action) for one in read_events(server, "digits")] == [
        (shown, "exclude")
    ]


def test_undo_goes_back_through_what_was_pressed_before_the_server_has_answered(
    page: Page, server: Server, open_page: Callable[..., None]
):
    lose_answers(page)
    open_page(page, "/review?project=digits")
    shown = [wait_for_example(page)]
    for key in "kx":
        page.keyboard.press(key)
        shown.append(wait_for_example(page, other_than=shown[-1]))
    page.keyboard.press("u")
    assert wait_for_example(page, other_than=shown[2]) == shown[1]
    page.keyboard.press("a")
    assert wait_for_example(page, other_than=shown[1]) == shown[2]
    page.unroute_all()
    wait_until_answered(page)
    assert [(one.example_id, one.action) for one in read_events(server, "digits")] == [
        (shown[0], "keep"),
        (shown[1], "exclude"),
        (shown[1], "undo"),
        (shown[1], "ambiguous"),
    ]
    assert page.get_by_role("alert").count() == 0


def press_key(page: Page, key: str, code: str, **more: bool) -> None:
    """Press a key as a keyboard of another layout sends it."""
    page.evaluate(
        "event => document.body.dispatchEvent("
        "new KeyboardEvent('keydown', { ...event, bubbles: true, cancelable: true }))",
        {"key": key, "code": code, **more},
    )


def test_keys_of_other_layouts_mean_what_lies_in_their_place(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=digits")
    for key, code in [
        ("л", "KeyK"),  # Russian
        ("χ", "KeyX"),  # Greek
        ("ש", "KeyA"),  # Hebrew
        ("Process", "KeyS"),  # an input method
        ("à", "Digit0"),  # French, where a digit needs Shift
    ]:
        shown = wait_for_example(page)
        page.wait_for_timeout(50)
        press_key(page, key, code)
        wait_for_example(page, other_than=shown)
    wait_until_answered(page)
    events = read_events(server, "digits")
    assert [one.action for one in events[:4]] == ["keep", "exclude", "ambiguous", "skip"]
    assert events[4].new_label == 0 or events[4].given_label == 0
    # A Latin letter that means nothing is not taken for the key that another layout has there.
    press_key(page, "q", "KeyA")
    expect(page.get_by_text("Q is no key of the review. ? shows them.")).to_be_visible()
    press_key(page, "!", "Digit1", shiftKey=True)
    expect(page.get_by_text("! is no key of the review.")).to_be_visible()
    press_key(page, "k", "KeyK", repeat=True)
    expect(page.get_by_text("K is held down: that is one press.")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_text("? show these keys", exact=True)).to_be_visible()
    wait_until_answered(page)
    assert len(read_events(server, "digits")) == 5


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768)])
def test_all_that_a_decision_needs_is_on_one_screen_and_the_buttons_stay_where_they_are(
    page: Page, server: Server, open_page: Callable[..., None], width: int, height: int
):
    page.set_viewport_size({"width": width, "height": height})
    for project in ("docs", "digits"):
        open_page(page, f"/review?project={project}")
        places = set()
        for _ in range(4):
            shown = wait_for_example(page)
            wait_until_idle(page)
            keep = page.get_by_role("button", name="Keep").bounding_box()
            note = page.get_by_label("Note", exact=True).bounding_box()
            assert keep is not None
            assert note is not None
            places.add((keep["x"], keep["y"], note["y"]))
            sides = [
                page.get_by_role("list", name=name).get_by_role("button").first.bounding_box()
                for name in ("Proponents", "Opponents")
            ]
            lower = [side["y"] + side["height"] for side in sides if side is not None]
            assert len(lower) == 2
            assert max(lower) < height
            page.keyboard.press("k")
            wait_for_example(page, other_than=shown)
        assert len(places) == 1, places
        wait_until_answered(page)
    picture = page.get_by_alt_text("Train example with the given label").first.bounding_box()
    assert picture is not None
    assert min(picture["width"], picture["height"]) >= 240


def test_a_refused_decision_comes_back_with_the_reason_and_its_note(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=digits")
    first = wait_for_example(page)
    from relabel.db.decisions.recording import NewDecision, record_decision

    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        record_decision(engine, NewDecision(first, 0, "Ada", "exclude"))
    finally:
        engine.dispose()
    page.keyboard.press("n")
    page.keyboard.type("a seven")
    page.keyboard.press("Enter")
    page.keyboard.press("k")
    second = wait_for_example(page, other_than=first)
    expect(page.get_by_role("alert")).to_contain_text("Ada excluded it")
    expect(page.get_by_role("alert")).to_contain_text("comes back next")
    assert shown_example(page) == second  # not under the hand that is about to decide
    page.keyboard.press("s")
    assert wait_for_example(page, other_than=second) == first
    expect(page.get_by_label("Note", exact=True)).to_have_value("a seven")
    page.wait_for_timeout(50)
    page.keyboard.press("k")
    wait_until_answered(page)
    assert page.get_by_role("alert").count() == 0
    assert [(one.example_id, one.action) for one in read_events(server, "digits")] == [
        (first, "exclude"),
        (second, "skip"),
        (first, "keep"),
    ]
