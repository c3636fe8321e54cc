"""A new file in a folder whose files register themselves, for as long as a test needs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from relabel.workspace import REPOSITORY_ROOT

Load = Callable[[Iterable[str]], None]


@contextmanager
def added_module(package: ModuleType, load: Load, table: dict[str, Any], path: Path) -> Iterator:
    """Let a file lie in a package; ``load`` imports the package's modules, which fill ``table``."""
    before, name = dict(table), f"{package.__name__}.{path.stem}"
    package.__path__.append(str(path.parent))
    try:
        load(package.__path__)
        yield
    finally:
        package.__path__.remove(str(path.parent))
        sys.modules.pop(name, None)
        vars(package).pop(path.stem, None)
        table.clear()
        table.update(before)


RUN = """
import importlib, sys
package = importlib.import_module(sys.argv[1])
package.__path__.append(sys.argv[2])
getattr(importlib.import_module(f"{sys.argv[1]}.registry"), sys.argv[3])(package.__path__)
from relabel.cli import main
sys.exit(main(sys.argv[4:]))
"""


def run_with_module(
    package: ModuleType, load: Load, path: Path, *words: object
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with a file more in a package."""
    place = (package.__name__, str(path.parent), load.__name__)
    return subprocess.run(
        [sys.executable, "-c", RUN, *place, *map(str, words)],
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
