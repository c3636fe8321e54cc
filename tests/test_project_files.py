"""What stands beside the code says the same as the code."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tracin_core import __version__

ROOT = Path(__file__).resolve().parent.parent
# Of the text at apache.org/licenses/LICENSE-2.0.txt.
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def read_project(folder: str) -> dict[str, Any]:
    text = (ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


def test_the_licence_is_the_whole_text() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = read_yaml("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    (paper,) = citation["references"]
    assert paper["identifiers"] == [{"type": "other", "value": "arXiv:2002.08484"}]
    assert "arXiv:2002.08484" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_version_stands_in_one_place() -> None:
    for folder in (".", "tracin_core"):
        assert "version" in read_project(folder)["dynamic"]
        assert "version" not in read_project(folder)


@pytest.mark.parametrize("folder", [".", "tracin_core"])
def test_systems_and_pythons_are_those_that_are_tested(folder: str) -> None:
    workflow = read_yaml(".github/workflows/test.yml")
    tried = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    classifiers = "\n".join(read_project(folder)["classifiers"])
    pythons = set(re.findall(r"Python :: (3\.\d+)", classifiers))
    assert pythons == {one["python"] for one in tried}
    systems = set(re.findall(r"(Linux|MacOS)", classifiers))
    names = {"ubuntu-latest": "Linux", "macos-latest": "MacOS"}
    assert systems == {names[one["os"]] for one in tried}


def test_the_workflow_runs_what_a_person_runs() -> None:
    steps = read_yaml(".github/workflows/test.yml")["jobs"]["test"]["steps"]
    assert steps[-1]["run"] == "make test"


def test_the_hooks_use_the_programs_of_make_check() -> None:
    (local,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    commands = [hook["entry"].split()[0] for hook in local["hooks"]]
    assert sorted(set(commands)) == [".venv/bin/mypy", ".venv/bin/ruff"]
    environment = os.environ | {"MAKEFLAGS": "", "MAKELEVEL": ""}
    dry = ["make", "--dry-run", "--always-make", "check"]
    shown = subprocess.run(
        dry, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert [command for command in commands if command not in shown] == []


def read_requirements(name: str) -> list[Requirement]:
    """Return what a requirements file asks for, in its order."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def test_the_ranges_of_the_application_are_the_same_in_both_files() -> None:
    asked = [Requirement(text) for text in read_project(".")["dependencies"]]
    assert read_requirements("requirements.txt") == asked
    assert len({canonicalize_name(need.name) for need in asked}) == len(asked)


def test_no_document_tells_to_install_from_a_file_that_is_gone() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tracin_core" / "README.md"]
    named = {
        name
        for path in documents
        for name in re.findall(r"requirements[\w-]*\.\w+", path.read_text(encoding="utf-8"))
    }
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def read_lock(name: str) -> dict[str, set[str]]:
    """Return the versions of each package that a lock names; several where it depends on a mark."""
    pinned: dict[str, set[str]] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        package, version = line.split(";")[0].strip().split("==")
        pinned.setdefault(package, set()).add(version)
    return pinned


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.lock", ()), ("requirements-dev.lock", ("dev",))]
)
def test_the_locks_hold_what_is_asked_for(lock: str, extras: tuple[str, ...]) -> None:
    project = read_project(".")
    asked = [Requirement(text) for text in project["dependencies"]]
    asked += [
        Requirement(text) for name in extras for text in project["optional-dependencies"][name]
    ]
    pinned = read_lock(lock)
    for need in asked:
        versions = pinned.get(canonicalize_name(need.name), set())
        assert versions, need
        assert all(need.specifier.contains(version) for version in versions), need
