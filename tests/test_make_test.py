"""`make test` fails when anything it runs does, and shows what was found."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from relabel.workspace import REPOSITORY_ROOT

TOOLS = (".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/pytest", "scripts/install_browser.sh")


def run_checks(checkout: Path, **endings: int) -> subprocess.CompletedProcess[str]:
    """Run the script where each tool says its name and ends as wished, by default well."""
    for name in TOOLS:
        tool = checkout / name
        tool.parent.mkdir(parents=True, exist_ok=True)
        ending = endings.get(tool.stem, 0)
        tool.write_text(f'#!/bin/sh\necho "this is {tool.stem} $*"\nexit {ending}\n')
        tool.chmod(0o755)
    shutil.copy(REPOSITORY_ROOT / "scripts" / "test.sh", checkout / "scripts")
    return subprocess.run(
        [checkout / "scripts" / "test.sh", "tests/some.py"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_is_well_when_every_tool_is(tmp_path: Path):
    done = run_checks(tmp_path)
    assert done.returncode == 0
    for words in ("ruff format --check .", "ruff check .", "mypy", "install_browser"):
        assert f"this is {words}" in done.stdout
    (tests,) = [line for line in done.stdout.splitlines() if line.startswith("this is pytest")]
    assert f"-n {(os.cpu_count() or 1) + 1}" in tests
    assert tests.endswith("tests/some.py")


@pytest.mark.parametrize(
    ("tool", "ending"),
    [("ruff", 1), ("mypy", 1), ("mypy", 2), ("install_browser", 2), ("pytest", 5)],
)
def test_what_one_tool_finds_fails_the_run_and_is_shown(tmp_path: Path, tool: str, ending: int):
    done = run_checks(tmp_path, **{tool: ending})
    assert done.returncode != 0
    assert f"this is {tool}" in done.stdout


def test_tests_run_although_the_types_are_wrong(tmp_path: Path):
    done = run_checks(tmp_path, mypy=1, pytest=3)
    assert done.returncode == 3
    assert "mypy found errors:\nthis is mypy" in done.stdout
    assert "this is pytest" in done.stdout
