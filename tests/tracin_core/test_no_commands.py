"""The engine has no commands: who looks for them there is told where they are."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("words", [[], ["demo", "digits"], ["--help"]])
def test_the_engine_says_where_the_commands_are(words):
    done = subprocess.run(
        [sys.executable, "-m", "tracin_core", *words], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "`python -m relabel`" in done.stderr
    assert "Traceback" not in done.stderr
