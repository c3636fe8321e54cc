"""Ask the served app for changed addresses: no answer is an error of the server's own."""

from __future__ import annotations

import os
import random
from pathlib import Path
from urllib.parse import quote

from starlette.testclient import TestClient

from relabel.db.engine import open_database
from relabel.workspace import DATABASE_VARIABLE, WORKSPACE_VARIABLE, resolve_workspace
from tests.fuzz.changes import TOKENS, change_bytes
from tests.fuzz.watching import Figures, draw_for, watch
from tests.relabel.db.builders import build_scene
from tests.relabel.importers.builders import picture
from tracin_core.errors import InputError

PART = "addresses"
SECRET = b"what no address may show"
METHODS = ("GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "X")
PAGES = ("overview", "queue", "inspect", "review", "history", "runs", "projects")
PATHS = (
    *(f"/{page}" for page in PAGES),
    *("/", "/thumb/1", "/picture/2", "/thumb/1?v=0123456789ab", "/queue/5", "/inspect/17"),
    *("/static/js/index.js", "/_stcore/health", "/_stcore/host-config", "/media/abc.png"),
    *("/component/x/index.html", "/app/static/x.png", "/_stcore/upload_file/a/b"),
    *("/queue?project=pets&page=2&signal=self_influence", "/review?example=3&queue=all"),
)
NUMBERS = ("0", "-1", "9" * 20, "9" * 5000, "1e9", "0x1", "²", "１", "1.0", "1 ", "+1", "NaN", "")
HEADERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("host", ("127.0.0.1", "evil.example", "", "127.0.0.1:99999", "[::1]", "x" * 3000)),
    ("range", ("bytes=0-", "bytes=-1", "bytes=9-1", "bytes=0-0,1-1", "lines=1", "bytes=99")),
    ("accept-encoding", ("gzip", "br;q=0", "*;q=9", ",,,")),
    ("if-none-match", ("*", '"x"', "W/")),
    ("origin", ("null", "http://127.0.0.1:1", "file://")),
    ("content-length", ("0",)),
    ("x-forwarded-host", ("evil.example",)),
    ("cookie", ("_streamlit_xsrf=1", "=;=", "a" * 5000)),
)  # fmt: skip


def fuzz_addresses(root: Path, cases: range) -> Figures:
    """Ask the whole app, as a server runs it, without a network.

    Args:
        root: An empty folder.
        cases: Numbers of the cases.
    """
    (root / "secret.txt").write_bytes(SECRET)
    workspace = resolve_workspace(root / "work")
    workspace.prepare()
    os.environ[WORKSPACE_VARIABLE] = str(workspace.root)
    os.environ[DATABASE_VARIABLE] = workspace.database_url
    engine = open_database(workspace.database_url)
    scene = build_scene(engine, kind="image")
    media = workspace.media_folder(scene.project.slug)
    for split, count in (("train", 6), ("test", 3)):
        (media / split).mkdir(parents=True)
        for number in range(count):
            (media / split / f"{number}.png").write_bytes(picture(number))
    engine.dispose()
    from app import app

    with TestClient(app, base_url="http://127.0.0.1") as client:

        def run(number: int) -> str:
            draw = draw_for(PART, number)
            method, address = draw.choice(METHODS), make_address(draw)
            headers = make_headers(draw)
            try:
                request = client.build_request(method, address, headers=headers)
            # Only the client has seen it yet: whatever it refuses never reaches the app.
            except Exception:
                return "no address for a client"
            answer = client.send(request, follow_redirects=False)
            if answer.status_code >= 500:
                raise AssertionError(f"{answer.status_code} for {method} {address[:300]!r}")
            if SECRET in answer.content:
                raise AssertionError(f"shows the secret: {method} {address[:300]!r}")
            if answer.status_code >= 400:
                raise InputError(f"{answer.status_code} for {method}")
            return f"{method} {answer.status_code}"

        return watch(PART, cases, run, root)


def make_address(draw: random.Random) -> str:
    """Return an address that a browser could be led to."""
    address = draw.choice(PATHS)
    way = draw.choice(["number", "bytes", "query", "below", "climb", "as it is"])
    if way == "number":
        head = draw.choice(["/thumb/", "/picture/", "/inspect/", "/queue/", "/review/"])
        return head + quote(draw.choice(NUMBERS))
    if way == "bytes":
        return quote(change_bytes(draw, address.encode()), safe="/%?=&#;:@+,")
    if way == "query":
        pairs = [
            f"{draw.choice(['project', 'example', 'page', 'signal', 'v', 'x', ''])}="
            f"{quote(draw.choice([*TOKENS, *(n.encode() for n in NUMBERS)]))}"
            for _ in range(draw.randint(1, 12))
        ]
        return f"{address.partition('?')[0]}?{'&'.join(pairs)}"
    if way == "below":
        parts = [quote(draw.choice(TOKENS), safe="") for _ in range(draw.randint(1, 30))]
        return "/".join([address.partition("?")[0], *parts])
    if way == "climb":
        up = draw.choice(["../", "..%2f", "%2e%2e/", "..%5c", "....//", "%252e%252e%252f"])
        start = draw.choice(
            ["/static/", "/media/", "/thumb/", "/component/x/", "/app/static/", "/"]
        )
        return (
            start + up * draw.randint(1, 12) + draw.choice(["secret.txt", "etc/passwd", "app.py"])
        )
    return address


def make_headers(draw: random.Random) -> dict[str, str]:
    """Return a few headers, mostly none."""
    if draw.random() < 0.6:
        return {}
    chosen = draw.sample(HEADERS, draw.randint(1, 3))
    return {name: draw.choice(values) for name, values in chosen}
