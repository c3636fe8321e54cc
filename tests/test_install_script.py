"""The installation asks uv, and pip where uv cannot or may not: one of them installs the lock."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from relabel.workspace import REPOSITORY_ROOT

# Notes what it is asked, and ends badly where it is told to.
TOOL = """#!/bin/sh
echo "{name} $*" >> {asked}
case "$*" in
  *"config list"*) echo "{settings}" ;;
  *"{fails}"*) exit 1 ;;
esac
"""


def install(
    checkout: Path, *, fails: str = "nothing", settings: str = ""
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the script in an environment whose Python and uv only note what they are asked."""
    asked = checkout / "asked.txt"
    asked.touch()
    for name in ("python", "uv"):
        tool = checkout / ".venv" / "bin" / name
        tool.parent.mkdir(parents=True, exist_ok=True)
        tool.write_text(TOOL.format(name=name, asked=asked, settings=settings, fails=fails))
        tool.chmod(0o755)
    (checkout / "scripts").mkdir()
    shutil.copy(REPOSITORY_ROOT / "scripts" / "install.sh", checkout / "scripts")
    done = subprocess.run(
        [checkout / "scripts" / "install.sh", "some.lock", sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, asked.read_text().splitlines()


def installers(asked: list[str]) -> list[str]:
    """Return who was asked to install the lock, in order."""
    return [line.split()[0] for line in asked if line.endswith("-r some.lock")]


def test_uv_installs_the_lock(tmp_path: Path):
    done, asked = install(tmp_path)
    assert done.returncode == 0, done.stderr
    assert installers(asked) == ["uv"]
    assert "compileall" in asked[-1]


@pytest.mark.parametrize("fails", ["--python .venv/bin/python", "uv>="])
def test_pip_does_where_uv_cannot_or_cannot_be_had(tmp_path: Path, fails: str):
    done, asked = install(tmp_path, fails=fails)
    assert done.returncode == 0, done.stderr
    assert installers(asked)[-1] == "python"


@pytest.mark.parametrize(
    "settings",
    [
        "global.index-url='https://pypi.example.org/simple'",
        "global.extra-index-url='https://wheels.example.org/cpu'",
        ":env:.no-index='1'",
    ],
)
def test_whoever_told_pip_of_another_index_is_served_by_pip(tmp_path: Path, settings: str):
    done, asked = install(tmp_path, settings=settings)
    assert done.returncode == 0, done.stderr
    assert installers(asked) == ["python"]


def test_an_installation_that_fails_says_how_to_go_on(tmp_path: Path):
    done, asked = install(tmp_path, fails="-r some.lock")
    assert done.returncode == 2
    assert installers(asked) == ["uv", "python"]
    assert "Run the same command again" in done.stderr
