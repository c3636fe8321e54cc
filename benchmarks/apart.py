"""Run a benchmark's items in a child process, so that an item may end it and the rest goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any


def run_here(items: Sequence[str], judge: Callable[[str], dict[str, Any]]) -> None:
    """Judge some items in this process and print each result as a line of JSON.

    Args:
        items: What to judge.
        judge: Returns an item's result.
    """
    for item in items:
        print(json.dumps({"begun": item}), flush=True)
        print(json.dumps({"result": judge(item)}), flush=True)


def run_apart(
    command: Sequence[str], items: Sequence[str], seconds: float = 600
) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield each item with its result, or with how it ended its process.

    Args:
        command: Of Python, ``-m`` and on; the items left are put behind it.
        items: What the child is to judge, by ``run_here``.
        seconds: Longest for one item; then its process is ended.

    Raises:
        RuntimeError: If the child fails by an error of the benchmark itself.
    """
    left = list(items)
    while left:
        with subprocess.Popen(
            [sys.executable, *command, *left], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            timer = threading.Timer(seconds, child.kill)
            for line in child.stdout:
                timer.cancel()
                timer = threading.Timer(seconds, child.kill)
                timer.start()
                fields = json.loads(line)
                if "result" in fields:
                    yield left.pop(0), fields["result"]
            timer.cancel()
        # A signal's number is negative; anything else is an error of the benchmark.
        if child.returncode > 0:
            raise RuntimeError(f"the child failed at {left[0] if left else 'its end'}")
        if child.returncode < 0:
            yield left.pop(0), f"ended its process with code {child.returncode}"
