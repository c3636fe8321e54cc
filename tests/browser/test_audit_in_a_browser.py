"""An audit through a browser: drawn, mixed blind into the review, its estimate moving meanwhile."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from relabel.db.engine import open_database, reading
from relabel.db.projects import get_project
from relabel.db.team.audits import count_waiting_items, list_items, read_audit
from relabel.worth.noise_rate import read_noise_rate
from scripts.serving import Server
from tests.browser.presses import wait_for_example, wait_until_answered

pytestmark = pytest.mark.browser
SIZE = 30
# Three of four come from the audit, so that some forty presses answer it.
SHARE = 75


def draw_an_audit(page: Page) -> None:
    page.get_by_text("Draw an audit", exact=True).click()
    items = page.get_by_label("Items", exact=True)
    items.fill(str(SIZE))
    items.press("Enter")
    mix = page.get_by_label("Percent of what Review hands out")
    mix.fill(str(SHARE))
    mix.press("Enter")
    page.get_by_role("button", name="Draw the audit").click()


def test_an_audit_is_answered_blind_while_its_estimate_moves(
    server: Server, new_page: Page, page: Page
):
    overview, review = page, new_page
    overview.goto(f"{server.url}/overview?project=digits")
    draw_an_audit(overview)
    expect(overview.get_by_text(f"0 of {SIZE}")).to_be_visible()
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        project = get_project(engine, "digits")
        audit = read_audit(engine, project.id)
        review.goto(f"{server.url}/review?project=digits")
        seen = []
        while count_waiting_items(engine, project.id):
            review.bring_to_front()
            shown = wait_for_example(review)
            seen.append(shown)
            assert len(seen) < 20 * SIZE, "the audit never came to its end"
            # The first half is right, of the second every other one is not.
            wrong = len(seen) > SIZE // 2 and len(seen) % 2
            review.keyboard.press("x" if wrong else "k")
            wait_for_example(review, other_than=shown)
            wait_until_answered(review)
            if len(seen) == SIZE // 2:
                expect(review.get_by_text("Of the queue or of the audit")).to_be_visible()
                overview.bring_to_front()
                # Of itself: nobody touches that page.
                expect(overview.get_by_text(re.compile(rf"^[1-9]\d* of {SIZE}$"))).to_be_visible()
                before = read_noise_rate(engine, project.id)
        noise = read_noise_rate(engine, project.id)
        with reading(engine) as connection:
            drawn = {one.example_id for one in list_items(connection, audit)}
    finally:
        engine.dispose()
    assert set(seen) >= drawn
    assert set(seen) - drawn, "nothing of the queue came between"
    assert before.num_wrong == 0
    assert (noise.num_audited, noise.num_open) == (SIZE, 0)
    assert noise.num_wrong > 0
    assert noise.rate > before.rate
    assert noise.low > before.low
    overview.bring_to_front()
    expect(overview.get_by_text(f"{SIZE} of {SIZE}")).to_be_visible()
    expect(
        review.get_by_text(re.compile("at 95% confidence for 80% of the errors|Too early"))
    ).to_be_visible()
    overview.goto(f"{server.url}/overview?project=digits")
    expect(overview.get_by_text(re.compile("at 95% confidence|Too early"))).to_be_visible()
