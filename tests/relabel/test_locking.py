"""One process at a time works on a project, and a killed one leaves no lock behind."""

from __future__ import annotations

import subprocess
import sys
import threading

from relabel.locks import lock_project
from relabel.workspace import REPOSITORY_ROOT

HOLD = """
import sys, time
from pathlib import Path
from relabel.locks import lock_project
with lock_project(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_elsewhere(folder) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=REPOSITORY_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_process_waits_and_a_killed_one_holds_nothing(tmp_path):
    process = hold_elsewhere(tmp_path / "digits")
    waited = threading.Event()
    try:

        def kill_the_holder():
            waited.set()
            process.kill()

        with lock_project(tmp_path / "digits", kill_the_holder):
            assert waited.is_set()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_projects_do_not_wait_for_each_other(tmp_path):
    waits = []
    with (
        lock_project(tmp_path / "digits", lambda: waits.append("digits")),
        lock_project(tmp_path / "docs", lambda: waits.append("docs")),
    ):
        assert waits == []


def test_who_holds_the_lock_takes_it_again_and_keeps_it_to_the_outermost_end(tmp_path):
    """Also against a thread of the same process, which waits until all of it is over."""
    waits, order = [], []
    waiting = threading.Event()

    def work_elsewhere():
        with lock_project(tmp_path, waiting.set):
            order.append("other")

    other = threading.Thread(target=work_elsewhere)
    with lock_project(tmp_path, lambda: waits.append(None)):
        with lock_project(tmp_path, lambda: waits.append(None)):
            order.append("inner")
        other.start()
        assert waiting.wait(20)
        order.append("outer")
    other.join(20)
    assert (order, waits) == (["inner", "outer", "other"], [])
