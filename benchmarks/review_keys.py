"""How fast a review by keys is: from a key to the next suspect, and what it costs the server.

Run: python -m benchmarks.review_keys [--photographs 60000]

A project of made photographs with a scored run is reviewed in a real browser, by its own clock:
from the key's time stamp to the frame in which the next suspect stands there with its evidence, all
pictures loaded. Then keys come five a second, and each must be recorded. The server's processor
time is that of its whole process, pictures and the search for evidence included.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from relabel.db.decisions.history import fetch_history
from relabel.db.engine import open_database
from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project, get_project
from relabel.db.registration import register_run
from relabel.runs.config import CheckpointEntry, IndexEntry, ProjectionEntry, RunConfig
from relabel.runs.folder import RunFolder
from relabel.runs.signals import Signals
from relabel.workspace import Workspace, resolve_workspace
from scripts.serving import Server, launch_browser, wait_until_idle

SLUG = "photographs"
CLASSES = ("bridge", "harbour", "meadow", "mountain", "street", "wood")
SIZE = (640, 480)
DIM = 256
DISTINCT = 1500  # photographs that are drawn; more of them are these again, each a file by itself
CALM, CALM_PAUSE = 200, 500  # presses, and milliseconds from one to the next
FAST, FAST_PAUSE = 75, 200
WARMING = 8
KEYS = "kxam"
VIEWPORTS = ((1440, 900), (1024, 768))

# Notes for each key how long it takes until another example is painted with its evidence.
_CLOCK = """
() => {
  const find = selector => {
    for (const host of document.querySelectorAll('[class*="st-key-suspect"] *')) {
      const found = host.shadowRoot && host.shadowRoot.querySelectorAll(selector)
      if (found && found.length) return [...found]
    }
    return []
  }
  const shown = () => find("[data-example-id]")[0]?.dataset.exampleId
  const isWhole = () => {
    const images = [...find(".example img"), ...find(".side img")]
    return find(".side .card").length > 0 && images.every(one => one.complete)
  }
  window.keyTimes = []
  addEventListener("keydown", event => {
    const before = shown()
    const look = () => {
      const now = shown()
      if (now === undefined || now === before || !isWhole()) return requestAnimationFrame(look)
      // After this frame has been painted.
      setTimeout(() => window.keyTimes.push(performance.now() - event.timeStamp), 0)
    }
    requestAnimationFrame(look)
  }, true)
}
"""
_LEFT = "sessionStorage.getItem('tracin-outbox') === null"


def draw_photographs(count: int) -> Iterator[bytes]:
    """Yield JPEG files that take as long to decode as photographs of their size do."""
    random = np.random.default_rng(0)
    for _ in range(count):
        rough = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(rough.resize(SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
        grain = random.normal(0, 9, (*smooth.shape[:2], 1)).astype(np.int16)
        buffer = BytesIO()
        picture = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
        picture.save(buffer, format="JPEG", quality=88)
        yield buffer.getvalue()


def build_project(workspace: Workspace, count: int) -> None:
    """Make the project, its pictures and a run whose numbers are made up."""
    workspace.prepare()
    engine = open_database(workspace.database_url)
    media = workspace.media_folder(SLUG)
    media.mkdir(parents=True)
    random = np.random.default_rng(1)
    labels = random.integers(0, len(CLASSES), count)
    for number, content in enumerate(draw_photographs(min(count, DISTINCT))):
        (media / f"{number}.jpg").write_bytes(content)
    for number in range(DISTINCT, count):
        (media / f"{number}.jpg").hardlink_to(media / f"{number % DISTINCT}.jpg")
    project = create_project(
        engine, slug=SLUG, title="Photographs", kind="image", classes=list(CLASSES)
    )
    add_examples(
        engine,
        project.id,
        [
            NewExample(
                key=f"photograph-{number}",
                split="train",
                position=number,
                given_label=int(label),
                media_path=f"{number}.jpg",
            )
            for number, label in enumerate(labels)
        ],
    )
    write_run(workspace.project_folder(SLUG) / "runs" / "bench", labels)
    register_run(
        engine,
        project.id,
        key="bench",
        folder="runs/bench",
        config={"layers": {"all": ["body", "head"], "last": ["head"]}},
        checkpoints=[],
        scores={"self_influence": random.lognormal(0, 1.5, count)},
        predictions={
            "train": (
                (labels + random.integers(1, len(CLASSES), count)) % len(CLASSES),
                random.random(count),
                random.random(count),
            )
        },
    )
    engine.dispose()


def write_run(
    root: Path,
    labels: np.ndarray,
    *,
    classes: tuple[str, ...] = CLASSES,
    kind: str = "image",
    dim: int = DIM,
    num_test: int = 1,
) -> None:
    """Write a run's folder: gradients that lie about a direction of the class."""
    random = np.random.default_rng(2)
    count = len(labels)
    folder = RunFolder(root)
    folder.checkpoints_folder.mkdir(parents=True)
    config = RunConfig(
        key="bench",
        kind=kind,
        classes=classes,
        model={"name": "small_cnn"},
        encoder={"size": 32},
        training={"seed": 0},
        checkpoints=(CheckpointEntry(file="checkpoints/a.pt", step=1, epoch=1, learning_rate=0.1),),
        counts={"train": count, "test": num_test},
        layers={"all": ("body", "head"), "last": ("head",)},
        rates="ones",
        projection={"all": ProjectionEntry(dim=dim), "last": None},
        indexes={layers: IndexEntry(kind="exact", recall=1.0) for layers in ("all", "last")},
    )
    (root / "checkpoints" / "a.pt").write_bytes(b"no weights are read")
    directions = random.standard_normal((len(classes), dim), dtype=np.float32)
    for split, number in (("train", count), ("test", num_test)):
        given = labels[:number]
        noise = random.standard_normal((number, dim), dtype=np.float32)
        vectors = directions[given] + 2 * noise
        signs = random.choice([-1, 1], (number, 1))
        for layers in ("all", "last"):
            np.save(folder.vectors_path(layers, split), (signs * vectors).astype(np.float32))
        probabilities = random.dirichlet(np.ones(len(classes)), number).astype(np.float32)
        np.save(folder.probabilities_path(split), probabilities)
        shape = (1, number)
        ones = np.ones(shape, dtype=np.float32)
        folder.write_signals(
            split,
            Signals(
                scores={"self_influence_all": ones, "self_influence_last": ones},
                loss=ones,
                margin=ones,
                predicted=np.zeros(shape, dtype=np.int16),
                given_probability=ones / 2,
            ),
        )
    for layers in ("all", "last"):
        folder.index_path(layers).mkdir()
    folder.write_config(config)


def read_processor_seconds(server: Server) -> float:
    """Return what the server's process has computed so far, as Linux counts it."""
    fields = Path(f"/proc/{server.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def press_keys(page: Page, count: int, pause: int) -> float:
    """Press keys at a steady pace and wait for the last answer; return the seconds of pressing."""
    started = time.monotonic()
    for number in range(count):
        page.keyboard.press(KEYS[number % len(KEYS)])
        due = started + (number + 1) * pause / 1000
        page.wait_for_timeout(max(0, 1000 * (due - time.monotonic())))
    elapsed = time.monotonic() - started
    page.wait_for_function(_LEFT)
    return elapsed


def count_recorded(workspace: Workspace) -> int:
    """Return how many decisions there are, each on an example of its own."""
    engine = open_database(workspace.database_url)
    try:
        rows = fetch_history(engine, get_project(engine, SLUG).id, page_size=1000).rows
        return len({row.example_id for row in rows})
    finally:
        engine.dispose()


def measure(workspace: Workspace, viewport: tuple[int, int]) -> None:
    """Print the rows of one size of the window."""
    width, height = viewport
    server = Server(workspace.root, reviewer="benchmark")
    with sync_playwright() as playwright:
        browser = launch_browser(playwright)
        try:
            server.start()
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(f"{server.url}/review")
            page.wait_for_function("document.documentElement.dataset.keys === 'listening'")
            wait_until_idle(page)
            press_keys(page, WARMING, 2 * CALM_PAUSE)
            page.evaluate(_CLOCK)
            before, spent = count_recorded(workspace), read_processor_seconds(server)
            press_keys(page, CALM, CALM_PAUSE)
            spent = read_processor_seconds(server) - spent
            times = sorted(page.evaluate("window.keyTimes"))
            calm = count_recorded(workspace) - before
            elapsed = press_keys(page, FAST, FAST_PAUSE)
            fast = count_recorded(workspace) - before - calm
        finally:
            browser.close()
            server.stop()
    late = times[max(0, round(0.95 * len(times)) - 1)]
    print(
        f"| {width} x {height} | {statistics.median(times):.0f} | {late:.0f} | {max(times):.0f} "
        f"| {calm} of {CALM} | {1000 * spent / max(calm, 1):.0f} "
        f"| {fast} of {FAST} | {FAST / elapsed:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=int, default=60_000, metavar="N")
    options = parser.parse_args()
    print(
        f"{options.photographs:,} photographs of {SIZE[0]} x {SIZE[1]} pixels, "
        f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.0f}.\n"
    )
    print(
        "| window | ms to the next suspect, median | p95 | slowest | recorded, one a "
        f"{CALM_PAUSE} ms | ms of the server's processor a decision | recorded, one a "
        f"{FAST_PAUSE} ms | presses a second |\n|---|--:|--:|--:|--:|--:|--:|--:|"
    )
    for viewport in VIEWPORTS:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            workspace = resolve_workspace(Path(folder))
            build_project(workspace, options.photographs)
            measure(workspace, viewport)


if __name__ == "__main__":
    main()
