"""Imports point one way, and what is served from stored numbers never loads torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "tracin_core"
MODULES = sorted(CORE.rglob("*.py"))
SCREENS = {"streamlit", "app", "ui", "pages"}

# What everything may import, and what each package may import beside that and itself. A package
# that is not here would be one that nobody has thought about, and fails.
BASE = {
    "array_headers",
    "errors",
    "config",
    "terms",
    "files",
    "holding",
    "numerals",
    "texts",
    "app_folder",
}
STORED = ("reviews", "runs")
LONG = ("work", "importing", "fitting", "scoring", "housekeeping")
CHAIN = ("examples", "models", "training", "gradients", "influence", "retrieval")
ALLOWED = {
    "array_headers": set(),
    "errors": set(),
    "files": set(),
    "holding": set(),
    "numerals": set(),
    "config": set(),
    "terms": set(),
    "texts": set(),
    "app_folder": set(),
    "runs": set(),
    "reviews": set(),
    "examples": set(),
    "sources": {"examples"},
    "models": set(CHAIN[:1]),
    "training": set(CHAIN[:2]),
    "gradients": set(CHAIN[:3]),
    "influence": set(CHAIN[:4]),
    "retrieval": {*CHAIN[:5], "runs"},
    "triage": {*CHAIN, "runs", "reviews"},
    "work": {"reviews"},
    "importing": {*STORED, "examples", "sources", "work"},
    "fitting": {*CHAIN, *STORED, "sources", "work"},
    "scoring": {*CHAIN, *STORED, "importing", "fitting", "triage", "work"},
    "housekeeping": {*STORED, "importing", "work"},
    "jobs": {*CHAIN, *STORED, "sources", "triage", *LONG},
    "cli": {*CHAIN, *STORED, "sources", "triage", *LONG, "jobs"},
    "__main__": {"cli"},
    "__init__": {"gradients", "influence", "models"},  # lazily, for `from tracin_core import X`
}


@cache
def find_imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """Return every import of a file, at the top or inside a function."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def imported_modules(path: Path) -> set[str]:
    """Return every module that a file imports."""
    found = set()
    for node in find_imports(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def package_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_core_knows_no_screen(path):
    assert {name.split(".")[0] for name in imported_modules(path)}.isdisjoint(SCREENS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_imports_inside_the_core_run_one_way(path):
    own = package_of(path)
    parts = [name.split(".") for name in imported_modules(path)]
    packages = {part[1] for part in parts if part[0] == "tracin_core" and len(part) > 1}
    packages = {
        name for name in packages if (CORE / name).is_dir() or (CORE / f"{name}.py").exists()
    }
    assert packages - {own, *BASE} <= ALLOWED[own]


def test_relative_imports_are_not_used():
    for path in MODULES:
        levels = {node.level for node in find_imports(path) if isinstance(node, ast.ImportFrom)}
        assert levels <= {0}, path


def run_python(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LIGHT_MODULES = [
    "tracin_core",
    "tracin_core.config",
    "tracin_core.errors",
    "tracin_core.examples",
    "tracin_core.runs",
    "tracin_core.sources",
    "tracin_core.reviews",
    "tracin_core.reviews.database",
    "tracin_core.reviews.queue",
    "tracin_core.reviews.decisions",
    "tracin_core.reviews.history",
    "tracin_core.reviews.export",
    "tracin_core.retrieval",
    "tracin_core.retrieval.evidence",
    "tracin_core.triage",
    "tracin_core.cli",
    "tracin_core.cli.queue",
    "tracin_core.cli.evaluate",
    "tracin_core.jobs",
    "tracin_core.jobs.launching",
    "tracin_core.importing.importing",
    "tracin_core.scoring.estimating",
    "tracin_core.scoring.evaluation",
    "tracin_core.housekeeping.deleting",
    "tracin_core.fitting.curve",
]


# Each module in a process of its own, none of which has to load the large libraries anew.
IMPORT_EACH = """
import importlib, os, sys
import alembic.command, numpy, pandas, PIL.Image, pyarrow.parquet, sqlalchemy.orm
assert not any(name.startswith(("torch", "tracin_core")) for name in sys.modules)
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        answer = 1
        try:
            importlib.import_module(name)
            answer = "torch" in sys.modules
        finally:
            os._exit(answer)
    if os.waitpid(child, 0)[1]:
        print(name)
"""


def test_what_is_served_from_stored_numbers_does_not_load_torch():
    # The last one is not there: what goes wrong is named.
    assert run_python(IMPORT_EACH, *LIGHT_MODULES, "tracin_core.none") == "tracin_core.none"


def test_the_engine_imports_without_annoy_database_and_screen():
    code = """
import sys
for name in ("annoy", "sqlalchemy", "alembic", "streamlit"):
    sys.modules[name] = None
import tracin_core.gradients, tracin_core.influence, tracin_core.retrieval
from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.retrieval import build_index
print("imported")
"""
    assert run_python(code) == "imported"
