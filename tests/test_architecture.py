"""Imports point one way, and what is served from stored numbers never loads torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The parts of each package, the lowest first: a part may import itself and what stands before it.
# A part that is not here would be one that nobody has thought about, and fails.
ENGINE = [
    "errors",
    "progress",
    "portable",
    "model_kinds",
    "files",
    "own_model",
    "devices",
    "scale",
    "gradients",
    "projection",
    "layers",
    "coverage",
    "losses",
    "checkpoints",
    "capture",
    "retrieval",
    "queries",
    "tracin",
    "ideal",
    "truth",
    "curvature",
    "attribution",
    "__main__",
]
APPLICATION = [
    "errors",
    "text",
    "files",
    "archives",
    "workspace",
    "progress",
    "job_options",
    "locks",
    "sandbox",
    "stores",
    "runs",
    "db",
    "team",
    "logs",
    "features",
    "models",
    "importers",
    "training",
    "triage",
    "exporters",
    "export",
    "returned",
    "fitting",
    "crossval",
    "scoring",
    "valuation",
    "worth",
    "comparison",
    "demos",
    "projects",
    "jobs",
    "doctor",
    "cli",
    "__main__",
]
SCREENS = [
    "product",
    "components",
    "wording",
    "address",
    "navigation",
    "identity",
    "session",
    "failures",
    "server",
    "labels",
    "fields",
    "examples",
    "chart_colours",
    "charts",
    "galleries",
    "uploads",
    "queue",
    "stores",
    "runs",
    "worth",
    "overview",
    "inspect",
    "compare",
    "review",
    "value",
    "history",
    "team",
    "projects",
    "router",
]
PACKAGES = {"tracin_core": ENGINE, "relabel": APPLICATION, "ui": SCREENS}
# Which packages each may import beside itself.
BELOW = {
    "tracin_core": set(),
    "relabel": {"tracin_core"},
    "ui": {"tracin_core", "relabel"},
    "pages": {"tracin_core", "relabel", "ui"},
}
OURS = {*BELOW, "app", "tests", "benchmarks", "scripts"}
# Names of the whole package, which each of its parts may read: it imports none of them at once.
FRONT_DOORS = {"tracin_core", "relabel"}


def list_modules(package: str) -> dict[str, Path]:
    """Return the files of a package by the name under which they are imported."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = {name: path for package in BELOW for name, path in list_modules(package).items()}


@cache
def find_imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """Return every import of a file, at the top or inside a function; not those for types alone."""
    nodes = [ast.parse(path.read_text("utf-8"))]
    found = []
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        nodes += [] if is_for_types else ast.iter_child_nodes(node)
    return found


def imported_modules(path: Path) -> set[str]:
    """Return every module of ours that a file imports, by its whole name."""
    found = set()
    for node in find_imports(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return {name for name in found if name.split(".")[0] in OURS}


def find_wrong(module: str, imported: str) -> bool:
    """Return whether an import breaks a rule of the house."""
    package, *parts = module.split(".")
    other, *other_parts = imported.split(".")
    if other != package:
        return other not in BELOW[package]
    if package not in PACKAGES or not parts or imported in FRONT_DOORS:
        return False
    order = PACKAGES[package]
    return not other_parts or order.index(other_parts[0]) > order.index(parts[0])


def test_imports_run_one_way():
    """Ask all files at once; each that breaks a rule is named with what it may not import."""
    parts = {
        name.split(".")[1] for name in MODULES if name.startswith(tuple(PACKAGES)) and "." in name
    }
    assert parts <= {part for order in PACKAGES.values() for part in order}, "an unknown part"
    offenders = {
        module: wrong
        for module, path in MODULES.items()
        if (wrong := {name for name in imported_modules(path) if find_wrong(module, name)})
    }
    assert offenders == {}


def test_a_wrong_arrow_is_seen():
    assert find_wrong("tracin_core.tracin", "relabel.text")
    assert find_wrong("relabel.db.queue", "relabel.scoring.run")
    assert find_wrong("relabel.scoring.run", "ui.session")
    assert find_wrong("tracin_core.gradients.plan", "tracin_core.capture.runner")
    assert not find_wrong("relabel.scoring.run", "relabel.db.queue")
    assert not find_wrong("pages.queue", "ui.session")


def test_relative_imports_are_not_used():
    for path in MODULES.values():
        levels = {node.level for node in find_imports(path) if isinstance(node, ast.ImportFrom)}
        assert levels <= {0}, path


# The application's one place with the bounds; a backup, which is written; and what torch reads.
OPENS_ARCHIVES = {
    "relabel.archives",
    "relabel.projects.backup",
    "tracin_core.checkpoints.safe_globals",
}


def test_archives_are_opened_in_one_place():
    opening = re.compile(r"(\bZipFile|\bTarFile|tarfile\.open|shutil\.unpack_archive|extractall)\(")
    found = {module for module, path in MODULES.items() if opening.search(path.read_text("utf-8"))}
    assert found == OPENS_ARCHIVES


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
    "tracin_core.errors",
    "tracin_core.retrieval",
    "relabel",
    "relabel.cli",
    "relabel.cli.evaluate",
    "relabel.cli.queue",
    "relabel.comparison.tables",
    "relabel.db.decisions.recording",
    "relabel.db.engine",
    "relabel.db.decisions.history",
    "relabel.db.queue",
    "relabel.export",
    "relabel.exporters",
    "relabel.features",
    "relabel.features.image",
    "relabel.fitting.saved",
    "relabel.importers",
    "relabel.importers.detect",
    "relabel.importers.ingest.project",
    "relabel.jobs.launch",
    "relabel.projects.delete",
    "relabel.runs.folder",
    "relabel.scoring.estimate",
    "relabel.scoring.evaluate",
    "relabel.triage.evidence",
    "relabel.triage.signals",
    "relabel.workspace",
    "relabel.worth.gain.saved",
    "relabel.worth.report.write",
]


# Each module in a process of its own, none of which has to load the large libraries anew.
IMPORT_EACH = """
import importlib, os, sys
import alembic.command, numpy, pandas, PIL.Image, pyarrow.parquet, sqlalchemy.orm
assert not any(name.startswith(("torch", "tracin_core", "relabel")) for name in sys.modules)
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
    assert run_python(IMPORT_EACH, *LIGHT_MODULES, "relabel.none") == "relabel.none"


def test_the_engine_imports_without_the_application_and_its_libraries():
    code = """
import sys
for name in ("annoy", "sqlalchemy", "alembic", "streamlit", "pandas", "PIL", "relabel", "ui"):
    sys.modules[name] = None
import tracin_core.gradients, tracin_core.capture, tracin_core.retrieval
from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.retrieval import build_index
print("imported")
"""
    assert run_python(code) == "imported"
