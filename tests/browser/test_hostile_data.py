"""Data of a stranger on every page and in every export: nothing runs, nothing leaves, all is shown.

Whatever of it a browser runs sets ``window.__hit``, opens a dialog or asks another server.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Page, Request, expect
from sqlalchemy import Engine

from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.db.team.opinions import record_opinion
from relabel.db.team.reviewers import Identity
from relabel.db.team.second_looks import set_share
from relabel.export import export_labels
from relabel.exporters.registry import EXPORTERS, OF_SOURCE, list_fitting
from relabel.workspace import resolve_workspace
from scripts.serving import Server, wait_until_idle
from tests.browser.conftest import listening
from tests.browser.hostile_projects import (
    MARKUP,
    REVIEWER,
    SLUGS,
    TITLE,
    build_hostile_projects,
)
from tests.browser.presses import wait_for_example, wait_until_answered
from tests.relabel.exporters.test_hostile_exports import check_no_formulas, read_keys

pytestmark = pytest.mark.browser

# Pages that show the same of every kind are visited once.
ADDRESSES = {
    "photographs": (
        *("projects", "runs", "overview", "queue", "inspect", "review", "history", "team"),
        *("queue?split=test", "inspect?show=test"),
    ),
    "texts": ("queue", "inspect", "review", "inspect?show=new"),
    "rows": ("overview", "queue?form=map", "inspect", "review"),
}
# What strangers' markup would have made of the page. Streamlit's own scripts are in its head.
MADE = (
    "img[src=x], svg[onload], [onerror], [href^='javascript'], [href^='http://stranger'], "
    "[data-testid=stMain] script"
)
IS_WIDE = """() => [document.documentElement, document.querySelector('[data-testid=stMain]')]
  .some(part => part.scrollWidth > part.clientWidth)"""


@pytest.fixture(scope="module")
def hostile_server(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]
) -> Iterator[Server]:
    """A server of three projects on which a stranger and a colleague have decided."""
    root = build_hostile_projects(tmp_path_factory.mktemp("hostile"))
    with _opened(root) as engine:
        for slug in SLUGS:
            _answer(engine, slug)
    with serve(root, reviewer=REVIEWER) as running:
        yield running


@contextmanager
def _opened(root: Path) -> Iterator[Engine]:
    engine = open_database(resolve_workspace(root).database_url)
    try:
        yield engine
    finally:
        engine.dispose()


def _answer(engine: Engine, slug: str) -> None:
    """Let the stranger decide about some suspects, and a colleague answer otherwise."""
    project, run = get_project(engine, slug), current_run(engine, get_project(engine, slug).id)
    assert run is not None
    set_share(engine, project.id, 1.0, by=Identity(REVIEWER))
    rows = fetch_page(engine, run.id, page_size=len(MARKUP)).rows
    for row, note in zip(rows, MARKUP, strict=True):
        label = (row.given_label + 1) % 3
        corrected = NewDecision(row.example_id, 0, REVIEWER, "relabel", label, note=note)
        made = record_decision(engine, corrected)
        record_opinion(engine, NewDecision(row.example_id, 0, MARKUP[0], "exclude"), made.id)


@contextmanager
def nothing_happens(page: Page, server: Server) -> Iterator[None]:
    """Fail where a dialog opens, or somebody else is asked for anything."""
    happened: list[str] = []

    def note_request(request: Request) -> None:
        if not request.url.startswith((server.url, "data:", "blob:")):
            happened.append(request.url)

    def note_dialog(dialog: Dialog) -> None:
        happened.append(dialog.message)
        dialog.dismiss()

    with listening(page, request=note_request, dialog=note_dialog):
        yield
    assert happened == []


def check_page(page: Page, address: str) -> None:
    assert page.evaluate("window.__hit") is None, address
    assert page.get_by_test_id("stException").count() == 0, address
    assert page.locator(MADE).count() == 0, address
    assert not page.evaluate(IS_WIDE), f"{address} is wider than {page.viewport_size}"


@pytest.mark.parametrize("slug", ADDRESSES)
def test_no_page_runs_what_a_stranger_wrote_or_breaks_of_it(
    page: Page, hostile_server: Server, slug: str
):
    with nothing_happens(page, hostile_server):
        for address in ADDRESSES[slug]:
            joint = "&" if "?" in address else "?"
            page.set_viewport_size({"width": 1440, "height": 900})
            page.goto(f"{hostile_server.url}/{address}{joint}project={slug}")
            wait_until_idle(page)
            if address == "overview":
                shown = page.get_by_role("heading", level=1).inner_text()
                assert shown.replace("\u2060", "") == f"{slug} {TITLE}"
            check_page(page, address)
            page.set_viewport_size({"width": 390, "height": 844})
            page.wait_for_timeout(200)  # charts are drawn anew
            check_page(page, address)


def test_a_stranger_decides_and_takes_everything_away(
    page: Page, hostile_server: Server, tmp_path: Path
):
    workspace = resolve_workspace(hostile_server.workspace)
    before = list_files(workspace.root.parent)
    with _opened(workspace.root) as engine, nothing_happens(page, hostile_server):
        for slug in SLUGS:
            _decide_by_key(page, hostile_server, slug)
            project = get_project(engine, slug)
            event = fetch_history(engine, project.id).rows[0]
            assert (event.reviewer, event.action, event.note) == (REVIEWER, "exclude", MARKUP[3])
            page.goto(f"{hostile_server.url}/history?project={slug}")
            wait_until_idle(page)
            expect(page.get_by_text(MARKUP[3]).first).to_be_visible()
            # Photographs lie in folders, which no single file can give back.
            by_page = EXPORTERS["image-folder" if slug == "photographs" else "own"]
            taken = _export(page, by_page.title, tmp_path)
            check_page(page, f"history of {slug}")
            media = workspace.media_folder(slug)
            for one in list_fitting(project.kind, project.task):
                if one.extension == OF_SOURCE:
                    continue
                content = export_labels(engine, project.id, format=one.name, media=media)
                assert read_keys(content, one.extension)
                if one.extension.endswith("csv"):
                    check_no_formulas(content)
            if by_page.extension == OF_SOURCE:
                _check_own(taken, next((workspace.root.parent / "data").glob(f"*{taken.suffix}")))
            else:
                assert read_keys(taken.read_bytes(), by_page.extension)
    assert list_files(workspace.root.parent) == before


def list_files(folder: Path) -> set[Path]:
    """Return all files of a folder but those of the open database."""
    return {path for path in folder.rglob("*") if not path.name.startswith("tracin.db")}


def _decide_by_key(page: Page, server: Server, slug: str) -> None:
    """Exclude a suspect on Review, with a note."""
    page.goto(f"{server.url}/review?project={slug}")
    shown = wait_for_example(page)
    page.keyboard.press("n")
    note = page.get_by_label("Note", exact=True)
    note.fill(MARKUP[3])
    note.press("Enter")
    expect(note).not_to_be_focused()
    page.keyboard.press("x")
    wait_for_example(page, other_than=shown)
    wait_until_answered(page)
    check_page(page, f"review of {slug}")


def _export(page: Page, title: str, folder: Path) -> Path:
    """Take a form of the export away as a person does; return where the browser put it."""
    page.get_by_role("combobox", name="Corrected labels").click()
    page.get_by_role("option", name=title, exact=True).click()
    wait_until_idle(page)
    with page.expect_download() as started:
        page.get_by_role("button", name="Export", exact=True).click()
    path = (folder / started.value.suggested_filename).resolve()
    assert path.parent == folder
    started.value.save_as(path)
    return path


def _check_own(taken: Path, source: Path) -> None:
    """Check that a file that was given back differs in labels alone, and in some."""
    was, now = (_read_rows(path) for path in (source, taken))
    differing = {
        name
        for before, after in zip(was, now, strict=True)
        for name in before
        if before[name] != after[name]
    }
    assert differing == {"label"}


def _read_rows(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes().decode()
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    return [json.loads(line) for line in text.splitlines()]
