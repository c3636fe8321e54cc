"""The documentation names what there is, and nothing that is gone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from relabel.exporters.registry import EXPORTERS
from relabel.importers.formats.registry import IMPORTERS
from relabel.triage.signals import list_signals
from relabel.workspace import REPOSITORY_ROOT
from ui.navigation import PAGES

README = (REPOSITORY_ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (REPOSITORY_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRIBUTING = (REPOSITORY_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOCUMENTS = [
    *sorted(REPOSITORY_ROOT.glob("*.md")),
    *sorted((REPOSITORY_ROOT / "docs").glob("*.md")),
    REPOSITORY_ROOT / "data" / "README.md",
]
# It says what things were called when they changed.
OF_TODAY = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
OURS = "tracin_core|relabel|ui|pages|benchmarks|scripts|tests|docs"


@cache
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


@pytest.mark.parametrize("document", OF_TODAY, ids=lambda path: path.name)
def test_every_command_that_is_shown_exists(document: Path):
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$|^ {4}(\w.*)$", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in "\n".join(block).splitlines()]
    shown = [re.match(r" *(?:python -m )?relabel ([a-z-]+)", line) for line in lines]
    inline = re.findall(r"`(?:python -m )?relabel ([a-z-]+)", text)
    named = {found[1] for found in shown if found} | set(inline)
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


@pytest.mark.parametrize("package", ["tracin_core", "relabel", "ui"])
def test_every_part_of_a_package_is_described_below_it(package: str):
    plan = ARCHITECTURE.partition(f"\n    {package}/ ")[2]
    below = re.split(r"\n {4}\w|\n\n", plan)[0]
    parts = {p.parent.name for p in (REPOSITORY_ROOT / package).glob("*/__init__.py")}
    assert parts
    assert [part for part in sorted(parts) if f" {part}/" not in below] == []


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


def find_missing_files(text: str) -> list[str]:
    """Return the files and folders of ours that a text names and that are not there."""
    named = re.findall(rf"(?<![\w/.*-])((?:{OURS})/[\w./-]*[\w/])", text)
    return [name for name in named if not (REPOSITORY_ROOT / name).exists()]


def find_missing_modules(text: str) -> list[str]:
    """Return the dotted names of ours that a text names and that Python does not find."""
    named = re.findall(rf"(?<![\w/.-])((?:{OURS})(?:\.(?!md\b|py\b)\w+)+)", text)
    return [name for name in named if not is_found(name)]


def is_found(name: str) -> bool:
    """Return whether a dotted name is a module or something in one."""
    package, _, last = name.rpartition(".")
    if "." in package and not is_found(package):
        return False
    try:
        return find_spec(name) is not None or hasattr(__import__(package, fromlist=[last]), last)
    except ModuleNotFoundError:  # below something that is no package
        return hasattr(__import__(package, fromlist=[last]), last)


@pytest.mark.parametrize("document", OF_TODAY, ids=lambda path: path.name)
def test_files_and_modules_that_are_named_are_there(document: Path):
    text = document.read_text(encoding="utf-8")
    assert find_missing_files(text) + find_missing_modules(text) == []


def test_a_name_that_is_gone_is_found():
    text = "`tracin_core/reviews/`, `docs/gone.md`, `tracin_core.influence.run`; but `ui/fields.py`"
    assert find_missing_files(text) == ["tracin_core/reviews/", "docs/gone.md"]
    assert find_missing_modules(text + " `tracin_core.tracin.TracIn`") == [
        "tracin_core.influence.run"
    ]


def places_for_additions() -> Iterator[tuple[str, int, str, str]]:
    """Yield what can be added, in how many files, where, and by which tests it is shown."""
    section = CONTRIBUTING.partition("## Where does it go")[2].partition("\n## ")[0]
    for what, count, where, tests in re.findall(
        r"^\| (.+?) \| (\d+) \| (.+?) \| (.+?) \|$", section, flags=re.MULTILINE
    ):
        yield what, int(count), where, tests


def test_where_something_new_goes_is_told_for_all_that_grows():
    told = {what: count for what, count, _, _ in places_for_additions()}
    assert told == {
        "a layer's gradient rule": 1,
        "an attribution method": 1,
        "an engine that does shards": 1,
        "a signal": 1,
        "an import format": 1,
        "an export format": 1,
        "a built-in network": 1,
        "a family of backbones": 1,
        "a kind of model to cross-validate": 1,
        "a command": 2,
        "a page": 2,
        "a kind of decision": 2,
    }


@pytest.mark.parametrize(
    ("count", "where", "tests"),
    [pytest.param(*rest, id=what) for what, *rest in places_for_additions()],
)
def test_a_place_for_something_new_is_there_and_its_tests_are(count: int, where: str, tests: str):
    names = re.findall(r"`([^`]+)`", where)
    paths = [name for name in names if "/" in name]
    # A new file is named by its folder, a table by its file.
    assert [path for path in paths if not (REPOSITORY_ROOT / path).exists()] == []
    places = [step for step in where.split(";") if "`" in step and "/" in step]
    assert len(places) == count
    sources = "\n".join(
        source.read_text(encoding="utf-8")
        for path in paths
        for source in (
            [REPOSITORY_ROOT / path]
            if path.endswith(".py")
            else (REPOSITORY_ROOT / path).glob("*.py")
        )
    )
    words = [name for name in names if "/" not in name]
    assert [word for word in words if not re.search(rf"(^|\W){word}\b", sources)] == []
    named = re.findall(r"`(tests/[\w/]+\.py)`", tests)
    assert named
    for test in named:
        source = (REPOSITORY_ROOT / test).read_text(encoding="utf-8")
        assert re.search(r"^def test_", source, flags=re.MULTILINE)
