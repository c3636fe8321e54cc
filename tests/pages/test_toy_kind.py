"""A kind of decision that is added to the table is on every screen and in every file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from relabel.workspace import REPOSITORY_ROOT
from tests.pages.conftest import PAGE_TIMEOUT


def test_a_kind_that_is_added_to_the_table_is_everywhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.pages.toy_kind", str(tmp_path / "toy")],
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PAGE_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "the toy kind is everywhere" in done.stdout
