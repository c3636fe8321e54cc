"""The reference is built from the docstrings, without a warning, and its links lead somewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import tracin_core

ROOT = Path(__file__).resolve().parent.parent
# Everything that the engine promises; a class has its methods below its own anchor.
PUBLIC = sorted(set(tracin_core.__all__) - {"__version__"})
METHODS = ("self_influence", "influence", "proponents", "vectors", "coverage")

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """The anchors of a page and what it links to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.anchors |= {found[key] for key in ("id", "name") if key in found}
        if tag == "a" and "href" in found:
            self.targets.add(found["href"])
        if "src" in found:
            self.loaded.add(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "icon"):
            self.loaded.add(found["href"])


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the pages as `make docs` does."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(site)]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    site = tmp_path_factory.mktemp("site")
    done = build(ROOT, site)
    assert done.returncode == 0, done.stderr
    return {path: Page(path) for path in site.rglob("*.html")}


def find_missing(pages: Mapping[Path, Page]) -> list[str]:
    """Return the links within the site that lead nowhere; 404.html is written for a server."""
    missing = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for link in page.targets | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = pages[goal].anchors if goal in pages else {""}
            if not goal.exists() or unquote(parts.fragment) not in {*there, "", "__skip"}:
                missing.append(f"{path.name}: {link}")
    return missing


def test_every_public_name_and_its_methods_are_there(pages: dict[Path, Page]) -> None:
    (reference,) = [page for path, page in pages.items() if path.name == "reference.html"]
    expected = {f"tracin_core.{name}" for name in PUBLIC}
    expected |= {f"tracin_core.TracIn.{name}" for name in METHODS}
    assert expected - reference.anchors == set()


def test_every_link_leads_to_a_page_and_its_anchor(pages: dict[Path, Page]) -> None:
    assert len(pages) > 6
    assert sum(len(page.targets) for page in pages.values()) > 100
    assert find_missing(pages) == []


def test_nothing_is_loaded_from_another_site(pages: dict[Path, Page]) -> None:
    loaded = {link for page in pages.values() for link in page.loaded}
    assert loaded
    assert [link for link in loaded if urlsplit(link).netloc] == []


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("[gone](gone.md) [lost](index.md#lost)", ("gone.md", "#lost")),
        ("::: tracin_core.Gone", ("Gone",)),
    ],
)
def test_what_leads_nowhere_fails_the_build(
    broken: str, named: tuple[str, ...], tmp_path: Path
) -> None:
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "tracin_core").symlink_to(ROOT / "tracin_core", target_is_directory=True)
    page = tmp_path / "docs" / "index.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{broken}\n", encoding="utf-8")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert [name for name in named if name not in done.stderr] == []
