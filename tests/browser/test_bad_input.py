"""Bad input in a real browser: each is told in words, nothing breaks, nothing is lost."""

from __future__ import annotations

import io
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Dialog, Page, Request, expect

from relabel.db.engine import open_database
from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project
from relabel.db.registration import register_run
from relabel.workspace import resolve_workspace
from scripts.serving import Server, wait_until_idle
from tests.browser.conftest import listening
from tests.conftest import copy_workspace

pytestmark = pytest.mark.browser

_HOSTILE_CLASSES = (
    "<img src=x onerror=alert(1)>",
    ":red[x] **bold**",
    "![a](http://example.com/x.png)",
    "$x$ [l](http://e)",
)
_HOSTILE_TEXTS = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "![a](http://example.com/x.png) :material/home:",
    "=cmd()",
    "W" * 5000,
)


@pytest.fixture
def private_workspace(built_demos: Path, tmp_path: Path) -> Path:
    """A workspace whose run folders may be damaged: its own copy of the digits."""
    workspace = copy_workspace(built_demos, tmp_path / "workspace")
    (workspace / "projects").unlink()
    shutil.copytree(built_demos / "projects" / "digits", workspace / "projects" / "digits")
    return workspace


@pytest.fixture(scope="module")
def hostile_server(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]
) -> Iterator[Server]:
    """A server of one project whose title, class names and texts are full of markup."""
    workspace = resolve_workspace(tmp_path_factory.mktemp("hostile") / "workspace")
    workspace.prepare()
    engine = open_database(workspace.database_url)
    project = create_project(
        engine,
        slug="hostile",
        title="<b>T</b> :red[x] ![a](http://example.com/x.png)",
        kind="text",
        classes=_HOSTILE_CLASSES,
        description="<img src=x onerror=alert(1)> $x$",
    )
    count = len(_HOSTILE_TEXTS)
    add_examples(
        engine,
        project.id,
        [
            NewExample(f"train-{place}", "train", place, place, text=text)
            for place, text in enumerate(_HOSTILE_TEXTS)
        ],
    )
    register_run(
        engine,
        project.id,
        key="first",
        folder="runs/first",
        config={},
        checkpoints=[],
        scores={"self_influence": [4.0, 3.0, 2.0, 1.0]},
        predictions={"train": ([1, 2, 3, 0], [0.9] * count, [0.1] * count)},
    )
    engine.dispose()
    with serve(workspace.root) as running:
        yield running


def count_decisions(server: Server) -> int:
    connection = sqlite3.connect(server.workspace / "tracin.db")
    try:
        return int(connection.execute("SELECT count(*) FROM decision").fetchone()[0])
    finally:
        connection.close()


def encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def no_crash(page: Page) -> None:
    assert page.locator("[data-testid=stException]").count() == 0


# One after the other on the same page, as somebody tries who wonders what is wrong.
USELESS_UPLOADS = [
    ("empty.png", b"", "0 bytes"),
    ("letter.png", b"Dear reader, " * 20, "no image"),
    ("drawing.png", b"<svg onload=alert(1)></svg>", "SVG"),
    ("page.png", b"<html><script>alert(1)</script>", "web page"),
    ("cut.png", encode(Image.new("RGB", (200, 200), "red"))[:200], "cut off"),
    ("huge.png", encode(Image.new("1", (9000, 9000))), "50 million"),
]


def test_an_upload_that_cannot_be_used_is_explained(page: Page, look_at: Callable[..., None]):
    look_at(page, "/inspect?project=digits&show=new")
    for name, data, said in USELESS_UPLOADS:
        page.locator("input[type=file]").set_input_files(
            {"name": name, "mimeType": "image/png", "buffer": data}
        )
        expect(page.get_by_role("alert")).to_contain_text(said)
        no_crash(page)


def test_a_sixteen_bit_picture_is_scored(page: Page, look_at: Callable[..., None]):
    look_at(page, "/inspect?project=digits&show=new")
    picture = encode(Image.new("I;16", (20, 20), 40_000))
    page.locator("input[type=file]").set_input_files(
        {"name": "scan.png", "mimeType": "image/png", "buffer": picture}
    )
    page.get_by_text("It has no label").or_(page.get_by_test_id("stException")).wait_for()
    wait_until_idle(page)
    no_crash(page)


def test_an_empty_text_is_asked_for(page: Page, look_at: Callable[..., None]):
    look_at(page, "/inspect?project=docs&show=new")
    page.get_by_label("Type or paste a text").fill("  \n ")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("alert")).to_contain_text("no text yet")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/inspect?project=digits&example=999999", "Found no example"),
        ("/inspect?project=digits&example=abc", "is not the number of an example"),
        ("/inspect?project=docs&example=5", "belongs to another project"),
        ("/inspect?project=digits&example=99999999999999999999999", "is not the number"),
        ("/review?project=docs&example=5", "There is no example"),
        ("/queue?project=<img src=x onerror=alert(1)>", "There is no project named"),
    ],
)
def test_an_unknown_number_in_the_address_is_told(
    page: Page, look_at: Callable[..., None], address: str, said: str
):
    look_at(page, address)
    expect(page.get_by_role("alert").first).to_contain_text(said)
    no_crash(page)


@pytest.mark.parametrize("file", ["run.json", "probabilities-train.npy", "signals-train.parquet"])
def test_a_damaged_run_is_told_and_the_queue_goes_on(
    page: Page, private_workspace: Path, port: int, serve: Callable[..., Server], file: str
):
    damage(private_workspace, file)
    with serve(private_workspace, port) as running:
        page.goto(f"{running.url}/inspect?project=digits")
        expect(page.get_by_role("alert")).to_contain_text(file)
        expect(page.get_by_role("alert")).to_contain_text("python -m relabel score digits")
        no_crash(page)
        page.goto(f"{running.url}/queue?project=digits")
        expect(page.get_by_role("option", name="Suspect 1: ")).to_be_visible()


def test_a_review_without_its_vectors_says_so(
    page: Page, private_workspace: Path, port: int, serve: Callable[..., Server]
):
    damage(private_workspace, "vectors-all-train.npy")
    with serve(private_workspace, port) as running:
        page.goto(f"{running.url}/review?project=digits")
        expect(page.get_by_role("alert").first).to_be_visible()
        no_crash(page)


def damage(workspace: Path, name: str) -> None:
    """Cut a file of the run to half its length."""
    (run,) = (workspace / "projects" / "digits" / "runs").iterdir()
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[: len(data) // 2])


def test_a_missing_picture_is_told_in_its_place(
    page: Page, private_workspace: Path, serve: Callable[..., Server]
):
    shutil.rmtree(private_workspace / "projects" / "digits" / "media")
    with serve(private_workspace) as running:  # from elsewhere, the browser has the pictures
        page.goto(f"{running.url}/queue?project=digits")
        expect(page.get_by_text("The picture cannot be shown").first).to_be_visible()
        page.goto(f"{running.url}/review?project=digits")
        expect(page.get_by_text("its file is missing or damaged")).to_be_visible()
        no_crash(page)


def test_a_database_that_is_busy_loses_no_decision(
    page: Page, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=docs")
    expect(page.get_by_role("button", name="Keep")).to_be_visible()
    other = sqlite3.connect(server.workspace / "tracin.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        page.keyboard.press("k")
        expect(page.get_by_role("alert")).to_contain_text("Not recorded.")
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert count_decisions(server) == 0
    wait_until_idle(page)
    page.keyboard.press("k")
    page.get_by_text("Recorded:").wait_for()
    assert count_decisions(server) == 1


@pytest.mark.parametrize("address", ["/queue", "/history", "/review", "/inspect?show=test"])
def test_markup_in_the_data_stays_text(page: Page, hostile_server: Server, address: str):
    outside: list[str] = []
    opened: list[str] = []

    def note_request(request: Request) -> None:
        if not request.url.startswith((hostile_server.url, "data:", "blob:")):
            outside.append(request.url)

    def note_dialog(dialog: Dialog) -> None:
        opened.append(dialog.message)
        dialog.dismiss()

    with listening(page, request=note_request, dialog=note_dialog):
        page.goto(hostile_server.url + address)
        wait_until_idle(page)
        if address == "/queue":
            expect(page.get_by_text(_HOSTILE_TEXTS[0]).first).to_be_visible()
        page.wait_for_timeout(500)
    no_crash(page)
    assert page.locator("[data-testid=stMain] img[src=x], [data-testid=stMain] script").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert (outside, opened) == ([], [])


def test_an_address_in_a_title_is_no_link(page: Page, hostile_server: Server):
    page.goto(f"{hostile_server.url}/overview")
    expect(page.get_by_role("heading", name="<b>T</b>")).to_be_visible()
    wait_until_idle(page)
    assert page.locator("[data-testid=stMain] a[href*='example.com']").count() == 0
