"""Methods are compared by a press, and what a train example is worth leads to the example."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from scripts.serving import Server, wait_until_idle
from tests.browser.conftest import go
from tests.relabel.jobs.workspaces import own_digits

pytestmark = pytest.mark.browser

WORK = 120_000  # milliseconds to wait for a job, on a busy machine


def test_methods_are_compared_and_an_opponent_of_many_is_opened(
    page: Page, built_demos: Path, tmp_path: Path, serve: Callable[..., Server]
):
    # The comparison is kept in the run's folder, so the demos that others read are copied whole.
    with serve(own_digits(built_demos, tmp_path / "workspace").root) as server:
        go(server, page, "/compare?project=digits")
        page.get_by_role("button", name="Compare", exact=True).click()
        found = page.get_by_role("heading", name="How fast each finds wrong labels")
        expect(found).to_be_visible(timeout=WORK)
        wait_until_idle(page)
        expect(page.get_by_role("heading", name="Which name the same proponents")).to_be_visible()
        expect(page.get_by_role("button", name="Compare again")).to_be_attached()
        # Beside each other, for the first of the examples that were drawn.
        sides = page.get_by_role("list", name="Proponents")
        expect(sides.first).to_be_visible()
        assert sides.count() > 2
        assert page.get_by_test_id("stException").count() == 0

        go(server, page, "/value?project=digits")
        expect(page.get_by_role("heading", name="Recurring examples")).to_be_visible()
        page.get_by_role("list", name="Opponents").get_by_role("button").first.click()
        page.wait_for_url("**/inspect**example=**")
        expect(page.get_by_role("heading", name="Proponents")).to_be_visible()
