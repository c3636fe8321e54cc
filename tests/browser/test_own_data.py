"""From a person's own file to a ranked queue, in the browser, whatever is closed or killed."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, Request, expect
from sqlalchemy import Engine

from relabel.db.engine import open_database
from relabel.db.examples import NewExample, add_examples
from relabel.db.jobs import Job, active_job, list_jobs, process_is_alive
from relabel.db.projects import create_project, get_project, list_projects
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.workspace import resolve_workspace
from scripts.serving import Server, wait_until_idle

pytestmark = pytest.mark.browser

# Enough that the training has a middle in which a server can die and come back.
EPOCHS = 250
PLANTED = 12
WORK = 120_000  # milliseconds to wait, for a job or a page, on a busy machine
_WORDS = {
    "positive": "great lovely wonderful happy superb brilliant delight charming warm witty",
    "negative": "awful dull boring terrible sad bleak mess cold weak clumsy",
}
_NEUTRAL = ["film", "story", "actor", "scene", "music", "plot", "camera", "ending", "script"]


@pytest.fixture
def own_server(tmp_path: Path, port: int, serve: Callable[..., Server]) -> Iterator[Server]:
    """A server whose workspace is empty."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    with serve(workspace, port) as running:
        yield running


@pytest.fixture
def engine(own_server: Server) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{own_server.workspace / 'tracin.db'}")
    try:
        yield opened
    finally:
        for job in list_jobs(opened):
            if job.pid is not None and job.state == "running" and process_is_alive(job.pid):
                os.kill(job.pid, signal.SIGTERM)
        opened.dispose()


@pytest.fixture
def reviews(tmp_path: Path) -> tuple[Path, set[str]]:
    """A table of texts, and those of them that carry the wrong label."""
    chance = random.Random(0)
    planted = set()
    path = tmp_path / "film reviews.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(400):
            label = ("positive", "negative")[number % 2]
            words = _WORDS[label].split()
            text = " ".join(chance.choice(words if n % 3 else _NEUTRAL) for n in range(14))
            if number < 10 * PLANTED and number % 10 < 1:
                planted.add(text)
                label = "negative" if label == "positive" else "positive"
            writer.writerow([text, label])
        writer.writerow(["a text without a label", ""])
    return path, planted


def watch_requests(page: Page, server: Server) -> list[str]:
    """Return the list that requests to anybody else will stand in."""
    outside: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith((server.url, "data:", "blob:")):
            outside.append(request.url)

    page.on("request", note)
    return outside


def go(page: Page, server: Server, path: str) -> None:
    page.goto(server.url + path)
    wait_until_idle(page)


def fill(page: Page, label: str, value: str, *, role: str = "textbox") -> None:
    field = page.get_by_role(role, name=label, exact=True)  # type: ignore[arg-type]
    field.fill(value)
    field.press("Enter")
    page.wait_for_timeout(300)
    wait_until_idle(page)


def find_job(engine: Engine, slug: str) -> Job:
    job = active_job(engine, slug)
    assert job is not None
    return job


def test_from_a_file_to_the_queue_with_tab_and_server_gone_in_between(
    new_page: Page,
    context: BrowserContext,
    own_server: Server,
    engine: Engine,
    reviews: tuple[Path, set[str]],
):
    path, planted = reviews
    page = new_page  # which is closed on the way, and listened to until then
    outside = watch_requests(page, own_server)

    # An empty workspace leads to a new project by itself.
    go(page, own_server, "/")
    page.wait_for_url("**/projects**")
    fill(page, "Path of a file or folder", str(path))
    expect(page.get_by_text("400 texts, each with one of 2 classes")).to_be_visible(timeout=WORK)
    expect(page.get_by_text("1 cannot be used")).to_be_visible(timeout=WORK)
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("400 examples imported")).to_be_visible(timeout=WORK)
    page.get_by_role("button", name="Train a model").click()
    page.wait_for_url("**/runs**")

    fill(page, "Epochs", str(EPOCHS), role="spinbutton")
    page.get_by_role("button", name="Train and score").click()
    # The curve grows.
    expect(page.get_by_text(f"of {EPOCHS} · train loss")).to_be_visible(timeout=WORK)
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=WORK)
    begun = find_job(engine, "film-reviews")

    # The tab is closed, and another one opened.
    address = page.url
    page.close()
    second = context.new_page()
    outside_second = watch_requests(second, own_server)
    second.goto(address)
    expect(second.get_by_text(f"of {EPOCHS} · train loss")).to_be_visible(timeout=WORK)
    expect(second.get_by_role("button", name="Cancel")).to_be_visible(timeout=WORK)
    expect(second.get_by_role("button", name="Train and score")).to_have_count(0, timeout=WORK)

    # The server is killed and comes back; the tab stays open, and finds it.
    own_server.kill()
    own_server.start()
    still = find_job(engine, "film-reviews")
    assert (still.id, still.pid, still.state) == (begun.id, begun.pid, "running")
    assert still.progress > begun.progress
    expect(second.get_by_role("button", name="Review the suspects")).to_be_visible(timeout=WORK)
    (job, imported) = list_jobs(engine, "film-reviews")
    assert (job.id, job.state, imported.kind) == (begun.id, "succeeded", "import")

    # The queue shows, the planted errors first.
    second.get_by_role("button", name="Review the suspects").click()
    second.wait_for_url("**/review**")
    expect(second.get_by_role("button", name="Keep")).to_be_visible(timeout=WORK)
    go(second, own_server, "/queue?project=film-reviews")
    expect(second.get_by_role("option", name="Suspect 1: ")).to_be_visible(timeout=WORK)
    run = current_run(engine, get_project(engine, "film-reviews").id)
    assert run is not None
    rows = fetch_page(engine, run.id).rows[:PLANTED]
    assert sum(row.text in planted for row in rows) >= PLANTED // 2
    assert second.locator("[data-testid=stException]").count() == 0
    assert (outside, outside_second) == ([], [])


def test_an_upload_is_imported_and_leaves_nothing_behind(
    page: Page, own_server: Server, engine: Engine
):
    go(page, own_server, "/projects?show=new")
    page.get_by_text("Upload", exact=True).click()
    page.locator("input[type=file]").set_input_files(
        {"name": "../pets.zip", "mimeType": "application/zip", "buffer": zip_of_images()}
    )
    expect(page.get_by_text("24 images, each with one of 2 classes")).to_be_visible(timeout=WORK)
    wait_until_idle(page)
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("24 examples imported")).to_be_visible(timeout=WORK)
    wait_until_idle(page)
    (project,) = list_projects(engine)
    assert (project.kind, project.classes) == ("image", ("<b>cat<_b>", "dog"))
    assert list((own_server.workspace / "uploads").iterdir()) == []
    assert page.locator("[data-testid=stMain] b").count() == 0


def zip_of_images() -> bytes:
    """Return an archive of two classes of images, one with markup in its name."""
    numbers = np.random.default_rng(0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for place in range(24):
            pixels = numbers.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            image = io.BytesIO()
            Image.fromarray(pixels).save(image, "PNG")
            name = ("<b>cat<_b>", "dog")[place % 2]
            archive.writestr(f"pets/{name}/{place}.png", image.getvalue())
    return buffer.getvalue()


def test_a_training_is_cancelled_and_tried_again(page: Page, own_server: Server, engine: Engine):
    make_texts(engine)
    go(page, own_server, "/runs?project=notes")
    fill(page, "Epochs", "10000", role="spinbutton")
    page.get_by_role("button", name="Train and score").click()
    expect(page.get_by_text("of 10,000 · train loss")).to_be_visible(timeout=WORK)
    page.get_by_role("button", name="Cancel").click()
    again = page.get_by_role("button", name="Try again")
    expect(again).to_be_visible(timeout=WORK)
    expect(page.get_by_role("alert")).to_contain_text("Training was cancelled", timeout=WORK)
    first = list_jobs(engine, "notes")[0]
    assert first.state == "cancelled"
    wait_until_idle(page)
    again.click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible(timeout=WORK)
    expect(page.get_by_text("of 10,000 · train loss")).to_be_visible(timeout=WORK)
    second = find_job(engine, "notes")
    assert (second.id != first.id, second.options) == (True, first.options)


def make_texts(engine: Engine) -> None:
    project = create_project(
        engine, slug="notes", title="Notes", kind="text", classes=["cat", "dog"]
    )
    add_examples(
        engine,
        project.id,
        [
            NewExample(f"{split}-{n}", split, n, n % 2, text=f"a {'purr' if n % 2 else 'bark'} {n}")
            for split in ("train", "test")
            for n in range(40)
        ],
    )


def test_a_project_is_renamed_put_away_backed_up_deleted_and_restored(
    page: Page, own_server: Server, engine: Engine, tmp_path: Path
):
    make_texts(engine)
    go(page, own_server, "/projects")
    manage = page.get_by_role("button", name="Manage")
    manage.click()
    fill(page, "Title", "Notes <i>of</i> animals")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0, timeout=WORK)
    expect(page.get_by_text("Notes <i>of</i> animals").first).to_be_visible(timeout=WORK)

    manage.click()
    page.get_by_role("button", name="Archive", exact=True).click()
    expect(page.get_by_text("No project is in use")).to_be_visible(timeout=WORK)
    assert list_projects(engine) == []
    page.get_by_text("Show 1 archived").click()
    opening = page.locator(".st-key-open-notes button")
    expect(opening).to_be_disabled(timeout=WORK)
    manage.click()
    page.get_by_role("button", name="Bring it back").click()
    expect(opening).to_be_enabled(timeout=WORK)

    backup = tmp_path / "notes.zip"
    manage.click()
    fill(page, "Write it to", str(backup))
    page.get_by_role("button", name="Back up", exact=True).click()
    expect(page.get_by_text("is backed up in")).to_be_visible(timeout=WORK)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download it").click()
    assert download.value.path().read_bytes() == backup.read_bytes()

    manage.click()
    delete = page.get_by_role("button", name="Delete for good")
    fill(page, "Type notes to confirm", "Notes")
    expect(delete).to_be_disabled(timeout=WORK)
    fill(page, "Type notes to confirm", "notes")
    delete.click()
    expect(page.get_by_role("dialog")).to_have_count(0, timeout=WORK)
    assert list_projects(engine) == []
    assert not resolve_workspace(own_server.workspace).project_folder("notes").exists()

    go(page, own_server, "/projects?show=restore")
    fill(page, "Path of the backup", str(backup))
    fill(page, "Name", "notes-again")
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.get_by_text("is restored")).to_be_visible(timeout=WORK)
    assert get_project(engine, "notes-again").title == "Notes <i>of</i> animals"
