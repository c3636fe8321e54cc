"""A person's own network and checkpoints on the Runs page, in the browser."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect
from sqlalchemy import Engine
from torch import nn

from relabel.cli import main
from relabel.db.engine import open_database
from relabel.db.jobs import list_jobs, process_is_alive
from relabel.db.projects import get_project
from relabel.db.runs import current_run
from relabel.models.user.config import hash_source
from scripts.serving import Server, wait_until_idle

pytestmark = pytest.mark.browser

WORK = 120_000  # milliseconds to wait, for a job or a page, on a busy machine
WORDS = ("nice", "kind", "ugly", "cold")
NET = f"""
    import torch
    from torch import nn
    from tracin_core import OwnModel
    WORDS = {WORDS}
    def bag(text):
        return torch.tensor([float(text.count(word)) for word in WORDS])
    class Net(nn.Linear):
        pass
    def build():
        return OwnModel(Net(4, 2), bag, classes=["good", "bad"])
"""


@pytest.fixture
def texts_server(tmp_path: Path, port: int, serve: Callable[..., Server]) -> Iterator[Server]:
    """A server with a small project of texts that nothing was scored for yet."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    table = tmp_path / "texts.csv"
    words = {"good": WORDS[:2], "bad": WORDS[2:]}
    rows = [f"{words[label][n % 2]} thing {n},{label}" for n in range(60) for label in words]
    table.write_text("\n".join(["text,label", *rows]))
    assert main(["--workspace", str(workspace), "import", "mine", str(table), "--yes"]) == 0
    with serve(workspace, port) as running:
        yield running


@pytest.fixture
def engine(texts_server: Server) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{texts_server.workspace / 'tracin.db'}")
    try:
        yield opened
    finally:
        for job in list_jobs(opened):
            if job.pid is not None and job.state == "running" and process_is_alive(job.pid):
                os.kill(job.pid, signal.SIGTERM)
        opened.dispose()


@pytest.fixture
def net(tmp_path: Path) -> Path:
    file = tmp_path / "my_net.py"
    file.write_text(textwrap.dedent(NET))
    return file


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Twelve checkpoints of a training, more than are chosen."""
    folder = tmp_path / "saved"
    folder.mkdir()
    for step in range(1, 13):
        model = nn.Linear(4, 2)
        with torch.no_grad():
            model.weight.copy_(0.2 * step * torch.tensor([[1.0, 1, -1, -1], [-1, -1, 1, 1]]))
            model.bias.zero_()
        torch.save({"model": model.state_dict(), "step": 10 * step}, folder / f"step{step}.pt")
    return folder


def fill(page: Page, label: str, value: str) -> None:
    field = page.get_by_role("textbox", name=label, exact=True)
    field.fill(value)
    field.press("Enter")
    page.wait_for_timeout(300)
    wait_until_idle(page)


def pick(page: Page, label: str, option: str) -> None:
    open_list(page, label, option)
    page.get_by_role("option", name=option).click()
    page.wait_for_timeout(300)
    wait_until_idle(page)


def open_list(page: Page, label: str, option: str) -> None:
    """Open the list of a box, which a browser would close if it had to scroll to the box then."""
    box = page.get_by_role("combobox", name=label).first
    box.evaluate("e => e.scrollIntoView({ block: 'center' })")
    page.wait_for_timeout(300)
    box.click()
    expect(page.get_by_role("option", name=option)).to_be_visible(timeout=WORK)


def agree(page: Page) -> None:
    # The form is folded away while something else asks.
    asked = page.locator("label", has_text="as a program").locator("visible=true")
    asked.first.click()
    page.wait_for_timeout(300)
    wait_until_idle(page)


def open_runs(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/runs?project=mine")
    wait_until_idle(page)


def fill_form(page: Page, net: Path, saved: Path) -> None:
    pick(page, "Model", "My own network")
    fill(page, "Python file", str(net))
    fill(page, "Folder with checkpoints (leave it empty to train here)", str(saved))


def wait_for_scorings(page: Page, engine: Engine, count: int) -> None:
    """Wait until so many scorings have succeeded."""
    for _ in range(WORK // 500):
        states = [job.state for job in list_jobs(engine, "mine") if job.kind == "score"]
        if states.count("succeeded") == count:
            return
        page.wait_for_timeout(500)
    raise AssertionError(states)


def look(page: Page, name: str) -> None:
    """Keep a picture where somebody asked for one."""
    folder = os.environ.get("TRACIN_TEST_PICTURES")
    if folder:
        page.set_viewport_size({"width": 1440, "height": 2200})
        page.wait_for_timeout(1500)
        page.screenshot(path=f"{folder}/{name}.png")
        page.set_viewport_size({"width": 1440, "height": 1000})


def test_own_checkpoints_are_scored_after_a_yes_and_others_chosen_later(
    page: Page, texts_server: Server, engine: Engine, net: Path, saved: Path
):
    open_runs(page, texts_server)
    fill_form(page, net, saved)
    score = page.get_by_role("button", name="Score", exact=True)
    expect(score).to_have_count(0)
    look(page, "before")
    # What is agreed to can be read, and the yes is to nothing else.
    page.get_by_text("What my_net.py holds").click()
    expect(page.get_by_text("def build():")).to_be_visible(timeout=WORK)
    agree(page)
    expect(score).to_be_visible(timeout=WORK)
    look(page, "agreed")
    score.click()
    expect(page.get_by_text("Scored. The queue is ranked anew.")).to_be_visible(timeout=WORK)
    job = list_jobs(engine, "mine")[0]
    assert job.options["run_my_code"] == hash_source(net.read_bytes())
    run = current_run(engine, get_project(engine, "mine").id)
    assert run is not None
    assert len(run.checkpoints) == 8
    wait_until_idle(page)
    look(page, "scored")

    # The others of the twelve can be chosen; a yes is needed again.
    again = page.get_by_role("button", name="Score at these checkpoints")
    expect(again).to_have_count(0)
    pick(page, "Checkpoints to score with", "Step 90: ")
    page.keyboard.press("Escape")
    expect(again).to_be_disabled()
    agree(page)
    look(page, "others")
    expect(again).to_be_enabled(timeout=WORK)
    again.click()
    # What the page says of the first scoring stands there until the second has begun.
    wait_for_scorings(page, engine, 2)
    expect(page.get_by_text("Scored. The queue is ranked anew.")).to_be_visible(timeout=WORK)
    wait_until_idle(page)
    other = current_run(engine, get_project(engine, "mine").id)
    assert other is not None
    assert other.id != run.id
    before = {entry["step"] for entry in run.checkpoints}
    assert {entry["step"] for entry in other.checkpoints} == before | {90}
    # All twelve stay choosable, though the last scoring looked at nine.
    open_list(page, "Checkpoints to score with", "Step 80: ")
    page.keyboard.press("Escape")

    # A file that has changed is not run, and the page says so before anything starts.
    net.write_text(net.read_text() + "\n")
    page.reload()
    wait_until_idle(page)
    pick(page, "Checkpoints to score with", "Step 80: ")
    page.keyboard.press("Escape")
    told = page.get_by_text("has changed since this network was made")
    expect(told.first).to_be_visible(timeout=WORK)
    expect(again).to_be_disabled()
    look(page, "changed")
    assert page.locator("[data-testid=stException]").count() == 0


def test_a_mistake_is_told_on_the_page_and_a_changed_file_asks_again(
    page: Page, texts_server: Server, engine: Engine, net: Path, saved: Path
):
    right = net.read_text()
    net.write_text(right.replace("Net(4, 2)", "Net(5, 2)"))
    open_runs(page, texts_server)
    fill_form(page, net, saved)
    agree(page)
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.get_by_text("Scoring failed.")).to_be_visible(timeout=WORK)
    expect(page.get_by_text("Scoring failed.")).to_contain_text("does not fit")
    wait_until_idle(page)
    look(page, "failed")
    net.write_text(right)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("agree to it anew")).to_be_visible(timeout=WORK)
    assert len([job for job in list_jobs(engine, "mine") if job.kind == "score"]) == 1
    # The way out that was named.
    page.reload()
    wait_until_idle(page)
    fill_form(page, net, saved)
    agree(page)
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.get_by_text("Scored. The queue is ranked anew.")).to_be_visible(timeout=WORK)
