"""The documentation names what there is, and nothing that is gone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from relabel.exporters.registry import EXPORTERS
from relabel.importers.formats.registry import IMPORTERS
from relabel.triage.signals import list_signals
from relabel.workspace import REPOSITORY_ROOT
from ui.navigation import PAGES

README = (REPOSITORY_ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (REPOSITORY_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
DOCUMENTS = [
    *sorted(REPOSITORY_ROOT.glob("*.md")),
    *sorted((REPOSITORY_ROOT / "docs").glob("*.md")),
]


def commands() -> list[str]:
    shown = subprocess.run(
        [sys.executable, "-m", "relabel", "--help"],
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return re.findall(r"^  ([a-z]+) {2,}(?=\S)", shown, flags=re.MULTILINE)


def test_every_command_stands_in_the_readme():
    missing = [name for name in commands() if f"relabel {name}" not in README]
    assert missing == []


def test_every_signal_stands_in_the_table():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (\w+) \|$", ARCHITECTURE, flags=re.MULTILINE)
    signals = [(name, one.title, one.task or "all") for name, one in list_signals().items()]
    assert rows == signals


def test_every_command_of_the_readme_exists():
    named = set(re.findall(r"python -m relabel ([a-z]+)", README))
    assert named <= set(commands())


def describe_exporters() -> tuple[set[tuple[str, ...]], set[tuple[str, ...]]]:
    """Return the export formats that the documentation describes, and those that there are."""
    text = (REPOSITORY_ROOT / "docs" / "exporting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+)` \| (.+) \| `\.(.+)` \| (.+) \|$", text, flags=re.MULTILINE)
    return set(rows), {
        (one.name, one.title, one.extension, one.changes or "as they are")
        for one in EXPORTERS.values()
    }


def test_the_documented_export_formats_are_those_there_are():
    described, expected = describe_exporters()
    assert described == expected


def describe_importers() -> tuple[set[tuple[str, ...]], set[tuple[str, ...]]]:
    """Return the import formats that the documentation describes, and those that there are."""
    text = (REPOSITORY_ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
    start = text.index("| `--format` |")
    table = text[start : text.index("\n\n", start)]
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| ?(.*) ?\|$", table, flags=re.MULTILINE)
    described = {(name, is_what, *re.findall(r"`(.+?)`", ends)) for name, is_what, ends in rows[1:]}
    return described, {
        (one.name, one.expected, *one.extensions, *one.other_extensions)
        for one in IMPORTERS.values()
    }


def test_the_documented_import_formats_are_those_there_are():
    described, expected = describe_importers()
    assert described == expected


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_named(name: str):
    assert name in README.lower() + ARCHITECTURE.lower()


@pytest.mark.parametrize(
    "package",
    sorted(p.parent.name for p in (REPOSITORY_ROOT / "tracin_core").glob("*/__init__.py")),
)
def test_every_package_of_the_core_is_described(package: str):
    assert f"{package}/" in ARCHITECTURE


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(document: Path):
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", text)
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []


def test_pictures_are_small():
    pictures = list((REPOSITORY_ROOT / "docs").rglob("*.png"))
    assert pictures
    assert [p.name for p in pictures if p.stat().st_size > 300_000] == []
