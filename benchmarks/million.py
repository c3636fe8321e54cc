"""What a browser waits for, and what the server holds, with a million examples.

Run: python -m benchmarks.million [--examples 1000000] [--folder DIR]

A project of made texts with a scored run (made scores of four signals, vectors of 32 numbers) and
five thousand decisions is opened by a real server. Each page is opened in a browser whose cache is
filled, first where the server has nothing in memory of it, then again. The processor's time is that
of the server's whole process, and does not depend on what else the machine does; the seconds of the
browser do. Memory is the most that the process ever had resident, files that it maps included.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.page_clock import install_clock, read_clock
from benchmarks.queue_page import NUM_DECISIONS, WORDS, Setting, decide_head
from benchmarks.review_keys import read_processor_seconds, write_run
from relabel.db.engine import open_database
from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project
from relabel.db.registration import register_run
from relabel.workspace import Workspace, resolve_workspace
from scripts.serving import Server, launch_browser, wait_until_idle

SLUG = "million"
CLASSES = tuple(f"class {number}" for number in range(20))
SIGNALS = ("suspicion", "self_influence", "mean_loss", "held_out")
TEST_SHARE, DIM = 20, 32  # one example in so many is a test example; numbers of a vector
AGAIN = 3
ROW = "[role=option][data-rank]"
# What is opened, and what must be seen for it to be there.
PAGES = {
    "queue": ("queue", ROW),
    "queue, page 5,000": ("queue?page=5000", ROW),
    "queue by another signal": ("queue?signal=mean_loss", ROW),
    "queue, what is decided": ("queue?status=reviewed", ROW),
    "queue, one class": ("queue?given=class+3", ROW),
    "queue, one pair": ("queue?given=class+3&suggested=class+4", ROW),
    "queue, suggested label differs": ("queue?differs=true", ROW),
    "queue, text with many hits": ("queue?contains=guitar", ROW),
    "queue, text with one hit": ("queue?contains=words+of+500017", ROW),
    "queue, key": ("queue?contains=row-500017", ROW),
    "queue, test examples": ("queue?split=test", ROW),
    "review, the next suspect": ("review", "[data-example-id]"),
    "inspect": ("inspect?example=500017", "[data-testid=stMain] h1"),
    "overview": ("overview", "[data-testid=stDataFrame]"),
    "history": ("history", "[data-testid=stDataFrame]"),
}


def make_examples(count: int, labels: np.ndarray) -> Iterator[NewExample]:
    """Yield examples of about 120 characters of text."""
    num_train = count - count // TEST_SHARE
    for number, label in enumerate(labels.tolist()):
        words = " ".join(WORDS[(number * 7 + step * step) % len(WORDS)] for step in range(16))
        is_train = number < num_train
        yield NewExample(
            key=f"row-{number}",
            split="train" if is_train else "test",
            position=number if is_train else number - num_train,
            given_label=label,
            text=f"words of {number} {words}",
        )


def build_project(workspace: Workspace, count: int) -> None:
    """Make the project, its run and its decisions."""
    workspace.prepare()
    engine = open_database(workspace.database_url)
    random = np.random.default_rng(1)
    labels = random.integers(0, len(CLASSES), count)
    num_test = count // TEST_SHARE
    num_train = count - num_test
    project = create_project(
        engine, slug=SLUG, title="A million", kind="text", classes=list(CLASSES)
    )
    add_examples(engine, project.id, make_examples(count, labels))
    write_run(
        workspace.project_folder(SLUG) / "runs" / "bench",
        labels[:num_train],
        classes=CLASSES,
        kind="text",
        dim=DIM,
        num_test=num_test,
    )
    # Nine in ten are said to be what is given.
    moved = np.where(random.random(count) < 0.1, random.integers(1, len(CLASSES), count), 0)
    said = (labels + moved) % len(CLASSES)
    parts = {"train": slice(0, num_train), "test": slice(num_train, count)}
    run = register_run(
        engine,
        project.id,
        key="bench",
        folder="runs/bench",
        config={"layers": {"all": ["body", "head"], "last": ["head"]}, "suggests_labels": True},
        checkpoints=[],
        scores={name: random.lognormal(0, 1.5, num_train) for name in SIGNALS},
        test_scores={SIGNALS[0]: random.lognormal(0, 1.5, num_test)},
        predictions={
            split: (
                said[part],
                random.random(len(said[part])),
                random.random(len(said[part])),
                said[part],
            )
            for split, part in parts.items()
        },
    )
    decide_head(Setting(engine, project.id, run.id, num_train), min(NUM_DECISIONS, num_train // 2))
    engine.dispose()


def read_memory(server: Server) -> dict[str, int]:
    """Return what the server's process has had resident at most, and has now, in bytes."""
    lines = Path(f"/proc/{server.pid}/status").read_text("utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    names = {"peak": "VmHWM", "now": "VmRSS", "own": "RssAnon", "mapped": "RssFile"}
    return {name: 1024 * int(fields[field].split()[0]) for name, field in names.items()}


def open_page(page: Page, server: Server, address: str, selector: str) -> tuple[float, float]:
    """Return seconds in the browser and of the server's processor until a page is whole."""
    # Another page first: what the page before computes is not counted with this one.
    page.goto("about:blank")
    before = read_processor_seconds(server)
    page.goto(f"{server.url}/{address}", wait_until="commit")
    waited = read_clock(page, selector) / 1000
    wait_until_idle(page)
    return waited, read_processor_seconds(server) - before


def measure_pages(workspace: Workspace, pages: Mapping[str, tuple[str, str]]) -> None:
    """Print a row a page, and the memory.

    Args:
        workspace: With one scored project.
        pages: Name to address and what must be seen for the page to be there.
    """
    print(
        "| page | seconds in the browser, first | again | ms of the server's processor, first "
        "| again |\n|---|--:|--:|--:|--:|",
        flush=True,
    )
    server = Server(workspace.root, reviewer="benchmark")
    with sync_playwright() as playwright:
        browser = launch_browser(playwright)
        try:
            server.start()
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            install_clock(context)
            page = context.new_page()
            # The browser's cache, and what the server loads once whatever the data are.
            open_page(page, server, "projects", "[data-testid=stMain] h1")
            for name, (address, selector) in pages.items():
                first = open_page(page, server, address, selector)
                again = [open_page(page, server, address, selector) for _ in range(AGAIN)]
                waits = statistics.median(one[0] for one in again)
                spent = statistics.median(one[1] for one in again)
                print(
                    f"| {name} | {first[0]:.2f} | {waits:.2f} | {1000 * first[1]:,.0f} "
                    f"| {1000 * spent:,.0f} |",
                    flush=True,
                )
            memory = read_memory(server)
        finally:
            browser.close()
            server.stop()
    told = {name: f"{size / 1e6:,.0f} MB" for name, size in memory.items()}
    print(
        f"\nThe server held at most {told['peak']}; at the end {told['now']}, of which "
        f"{told['own']} its own and {told['mapped']} files that it maps."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--folder", type=Path, help="made where missing, and kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        workspace = resolve_workspace(options.folder or Path(temporary))
        started = time.perf_counter()
        if not workspace.project_folder(SLUG).exists():
            build_project(workspace, options.examples)
        print(
            f"{options.examples:,} examples, {platform.machine()}, {os.cpu_count()} processors, "
            f"load {os.getloadavg()[0]:.0f}; made in {time.perf_counter() - started:.0f} s.\n",
            flush=True,
        )
        measure_pages(workspace, PAGES)


if __name__ == "__main__":
    main()
