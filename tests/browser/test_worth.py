"""What a review was worth, in the browser: measured by a job, told, and taken away as a report."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine

from relabel.db.engine import open_database
from relabel.db.jobs import list_jobs, process_is_alive
from relabel.workspace import Workspace
from relabel.worth.gain.saved import read_latest_gain
from relabel.worth.gain.words import describe_headline
from scripts.serving import Server, wait_until_idle
from tests.relabel.scoring.small_projects import make_texts, open_workspace
from tests.relabel.worth.gain.small import correct_texts, decide

pytestmark = pytest.mark.browser

WORK = 120  # seconds to wait for a job, on a busy machine
WRONG = tuple(range(0, 60, 5))
EVIL = "<script>document.title = 'run'</script><img src=http://192.0.2.1/x onerror=alert(1)>"


@pytest.fixture
def reviewed(tmp_path: Path, port: int, serve: Callable[..., Server]) -> Iterator[Server]:
    """A server with a small project of texts, some of which were corrected."""
    engine, workspace = open_workspace(tmp_path / "workspace")
    project = make_texts(engine, wrong=WRONG)
    decide(engine, project, 0, "relabel", new_label=0, note=EVIL)
    correct_texts(engine, project, WRONG[1:8])
    engine.dispose()
    with serve(workspace.root, port) as running:
        yield running


@pytest.fixture
def engine(reviewed: Server) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{reviewed.workspace / 'tracin.db'}")
    try:
        yield opened
    finally:
        for job in list_jobs(opened):
            if job.pid is not None and job.state == "running" and process_is_alive(job.pid):
                os.kill(job.pid, signal.SIGTERM)
        opened.dispose()


def wait_for_end(engine: Engine) -> str:
    """Return how the latest job ended."""
    deadline = time.monotonic() + WORK
    while time.monotonic() < deadline:
        (job,) = list_jobs(engine, "weather", limit=1)
        if job.finished_at is not None:
            return job.state
        time.sleep(0.1)  # between two looks at the database
    raise AssertionError("the job did not end")


def test_a_gain_is_measured_while_nobody_looks_and_its_report_asks_for_nothing(
    page: Page, browser: Browser, reviewed: Server, engine: Engine, tmp_path: Path
):
    history = f"{reviewed.url}/history?project=weather"
    page.goto(history)
    wait_until_idle(page)
    page.get_by_role("button", name="Measure the gain").click()
    expect(page.get_by_text("Measurement of the gain")).to_be_visible()
    page.goto("about:blank")  # the page is closed, and the work goes on
    assert wait_for_end(engine) == "succeeded"
    gain = read_latest_gain(Workspace(reviewed.workspace, str(engine.url)), "weather")
    assert gain is not None

    page.goto(history)
    wait_until_idle(page)
    expect(page.get_by_text(describe_headline(gain)).first).to_be_visible()
    expect(page.get_by_role("button", name="Measure again")).to_be_enabled()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Report", exact=True).click()
    saved = tmp_path / "report.html"
    waiting.value.save_as(saved)
    assert waiting.value.suggested_filename.startswith("weather-report-")
    check_report(browser, saved)


def check_report(browser: Browser, saved: Path) -> None:
    """Open a report with the network off: it asks for nothing, runs nothing and can be read."""
    offline = browser.new_context(offline=True, viewport={"width": 1000, "height": 900})
    try:
        tab = offline.new_page()
        asked: list[str] = []
        said: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: said.append(message.text))
        tab.on("dialog", lambda dialog: said.append(dialog.message))
        tab.goto(saved.as_uri())
        assert asked == [saved.as_uri()]
        assert said == []
        assert tab.title() == "Weather: report of the label review"
        expect(tab.get_by_role("heading", name="What it was worth")).to_be_visible()
        expect(tab.get_by_text("document.title = 'run'").first).to_be_visible()
        assert tab.locator("figure svg").count() == 4
        wider = tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wider <= 0
        found = Axe().run(tab)
        assert found.violations_count == 0, found.generate_report()
        assert tab.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    finally:
        offline.close()
