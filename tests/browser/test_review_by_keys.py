"""The review as a fast person does it: a deep link, keys only, a reload, undo, export."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from relabel.db.decisions.history import fetch_history
from relabel.db.engine import open_database
from relabel.db.examples import ExampleView, get_example
from relabel.db.projects import get_project
from relabel.runs.folder import RunFolder
from relabel.runs.held_out import open_of_run
from scripts.serving import Server, wait_until_idle
from tests.browser.presses import (
    Press,
    read_presses,
    record_presses,
    shown_example,
    wait_for_example,
    wait_until_answered,
    wait_until_shown,
)

pytestmark = pytest.mark.browser

PAUSE = 100  # milliseconds between two presses
WANTED = 10
# A different decision with nearly every press, so that a misplaced one shows.
KEYS = "k1m2x3a4m5k6x7a8m9k0"
MEANING = {"k": "keep", "x": "exclude", "a": "ambiguous"}

Outcome = tuple[str, int | None]


def decided_ids(server: Server) -> list[int]:
    """Examples in force as decided, in the order of their decisions, from the database itself."""
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        project = get_project(engine, "digits")
        rows = fetch_history(engine, project.id, page_size=500).rows
        return [row.example_id for row in reversed(rows) if row.action != "undo" and not row.undone]
    finally:
        engine.dispose()


def press_until_decided(page: Page, server: Server, wanted: int) -> None:
    """Press the keys in turn at a steady pace until so many examples are decided."""
    for count in range(40 * wanted):
        page.keyboard.press(KEYS[count % len(KEYS)])
        page.wait_for_timeout(PAUSE)
        if count >= wanted and len(decided_ids(server)) >= wanted:
            return
    pytest.fail(f"only {len(decided_ids(server))} of {wanted} decisions were recorded")


def possible_outcomes(server: Server, presses: list[Press]) -> dict[int, set[Outcome]]:
    """What the presses made while each example was on the screen can mean.

    More than one may have been made while it was there: a press that comes before its buttons
    are may be ignored.
    """
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    outcomes: dict[int, set[Outcome]] = {}
    try:
        for press in presses:
            if press.shown is None or not (press.key in MEANING or press.key in "m0123456789"):
                continue
            view = get_example(engine, press.shown, _run_id(engine))
            if press.key in MEANING:
                outcome: Outcome = (MEANING[press.key], None)
            else:
                label = _suggested_label(server, view) if press.key == "m" else int(press.key)
                outcome = ("keep", None) if label == view.given_label else ("relabel", label)
            outcomes.setdefault(view.id, set()).add(outcome)
    finally:
        engine.dispose()
    return outcomes


def _suggested_label(server: Server, view: ExampleView) -> int | None:
    """Return what M takes: what models say that have not seen it, else what the network says."""
    (folder,) = (server.workspace / "projects" / "digits" / "runs").iterdir()
    held_out = open_of_run(RunFolder(folder))
    assert held_out is not None
    said = held_out.opinion(view.position, view.given_label).label
    return view.predicted_label if said == view.given_label else said


def _run_id(engine) -> int:
    from relabel.db.runs import current_run

    run = current_run(engine, get_project(engine, "digits").id)
    assert run is not None
    return run.id


def export_rows(page: Page, server: Server) -> dict[str, dict[str, str]]:
    page.goto(f"{server.url}/history?project=digits")
    wait_until_idle(page)
    page.get_by_text("Reviewed examples only").click()
    wait_until_idle(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export").click()
    text = waiting.value.path().read_text(encoding="utf-8-sig")
    return {row["key"]: row for row in csv.DictReader(io.StringIO(text))}


def test_ten_suspects_by_keys_a_reload_two_undos_and_the_export_agree(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=digits")  # cold: the server's first visit ever
    wait_for_example(page)
    record_presses(page)
    press_until_decided(page, server, WANTED)
    wait_until_answered(page)
    presses = read_presses(page)
    decided = decided_ids(server)
    before_reload = shown_example(page)

    page.reload()
    assert wait_for_example(page) == before_reload

    undone = []
    for _ in range(2):
        undone.append(decided_ids(server)[-1])
        # A key that goes down before the page listens again is lost, as it is for a person.
        wait_until_idle(page)
        page.keyboard.press("u")
        wait_until_shown(page, undone[-1])
        wait_until_answered(page)
    assert undone == decided[-1:-3:-1]

    rows = export_rows(page, server)
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        run_id = _run_id(engine)
        outcomes = possible_outcomes(server, presses)
        remaining = decided[:-2]
        names = get_project(engine, "digits").classes
        views = {one: get_example(engine, one, run_id) for one in remaining}
    finally:
        engine.dispose()
    assert set(rows) == {view.key for view in views.values()}
    for example_id, view in views.items():
        row = rows[view.key]
        relabelled = names.index(row["label"]) if row["action"] == "relabel" else None
        assert (row["action"], relabelled) in outcomes[example_id]
        if row["action"] != "relabel":
            assert row["label"] == names[view.given_label]


# What has the focus, also within a component, in the words that a person sees or hears.
_FOCUSED = """
() => {
  let focused = document.activeElement
  while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement
  return (focused?.getAttribute("aria-label") ?? focused?.innerText ?? "").trim()
}
"""


def tab_to(page: Page, words: str, *, beginning: bool = False) -> None:
    """Go to a link, a button or a card by the Tab key alone.

    Args:
        page: Where.
        words: What it is called.
        beginning: Whether its name only begins so.
    """
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(_FOCUSED))
        if seen[-1] == words or (beginning and seen[-1].startswith(words)):
            return
    pytest.fail(f"Tab does not lead to {words}: {seen}")


def test_the_keyboard_alone_leads_from_the_address_to_the_export(page: Page, server: Server):
    page.goto(server.url)
    page.wait_for_url("**/overview**")
    wait_until_idle(page)
    tab_to(page, "Review")
    page.keyboard.press("Enter")
    page.wait_for_url("**/review**")
    first = wait_for_example(page)
    page.keyboard.press("Enter")  # the coloured button, and not the name of the page
    second = wait_for_example(page, other_than=first)
    page.keyboard.press("k")
    wait_for_example(page, other_than=second)
    wait_until_answered(page)
    assert decided_ids(server) == [first, second]
    page.reload()  # the Tab key begins at the top again
    wait_until_idle(page)
    tab_to(page, "Queue")
    page.keyboard.press("Enter")
    page.wait_for_url("**/queue**")
    wait_until_idle(page)
    tab_to(page, "Suspect ", beginning=True)
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("x")
    told = page.get_by_role("status").locator("visible=true").last
    expect(told).to_have_text("Recorded: 2 examples excluded.")
    page.reload()
    wait_until_idle(page)
    tab_to(page, "History")
    page.keyboard.press("Enter")
    page.wait_for_url("**/history**")
    wait_until_idle(page)
    tab_to(page, "Export")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    rows = csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig")))
    actions = [row["action"] for row in rows]
    assert sum(action in ("keep", "relabel") for action in actions) == 2
    assert actions.count("exclude") == 2


@pytest.mark.parametrize("pause", [0, 100, 300])
def test_no_press_lands_on_an_example_that_was_not_shown(
    page: Page, server: Server, open_page: Callable[..., None], pause: int
):
    open_page(page, "/review?project=digits")
    wait_for_example(page)
    record_presses(page)
    for count in range(40):
        page.keyboard.press(KEYS[count % len(KEYS)])
        page.wait_for_timeout(pause)
    wait_until_answered(page)
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        rows = fetch_history(engine, get_project(engine, "digits").id, page_size=500).rows
    finally:
        engine.dispose()
    outcomes = possible_outcomes(server, read_presses(page))
    assert rows
    assert len({row.example_id for row in rows}) == len(rows), "an example was decided twice"
    for row in rows:
        assert (row.action, row.new_label) in outcomes.get(row.example_id, set()), row
