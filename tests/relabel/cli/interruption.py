"""Commands that can be interrupted, whoever runs the tests."""

from __future__ import annotations

import signal
import subprocess
import sys

from relabel.workspace import REPOSITORY_ROOT


def start_command(*arguments: str) -> subprocess.Popen[str]:
    """Start a command as a terminal would: Ctrl-C reaches it.

    A shell that runs the tests in the background has told its children to ignore the signal.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "relabel", *arguments],
        cwd=REPOSITORY_ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
