"""Collect public docstrings from installed source files, without importing them.

Importing a library to read its documentation costs seconds and may run anything; its source says
the same.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_BYTES = 400_000  # a few generated files are larger, and take a second each to parse

_SKIPPED_FOLDER = re.compile(
    r"(?:^|/)(?:tests?|testing|_?vendor\w*|vendored|externals?|benchmarks?|conftest|examples"
    r"|__pycache__|gui|idlelib|lib2to3)(?:/|\.py$)"
)


def find_sources(source: str) -> list[Path]:
    """Return the Python files of an installed package, folder of a package, or module.

    Args:
        source: "sklearn", "torch/nn" or "tempfile".

    Returns:
        The files in an order that is mixed but the same on every machine, so that the first
        hundred come from all over the package; empty where it is not installed.
    """
    for root in _search_roots():
        module, folder = root / f"{source}.py", root / source
        if module.is_file():
            return [module]
        if folder.is_dir():
            files = [
                file
                for file in folder.rglob("*.py")
                if not _SKIPPED_FOLDER.search(file.relative_to(root).as_posix())
            ]
            return sorted(files, key=lambda file: _mix(file.relative_to(root).as_posix()))
    return []


def read_docstrings(file: Path) -> Iterator[str]:
    """Yield the docstrings of a file's public classes, functions and methods.

    A file that cannot be read or parsed (too large, or written for another Python) yields none.
    """
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            return
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    yield from _walk_definitions(tree)


def _walk_definitions(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if child.name.startswith("_"):
                continue
            docstring = ast.get_docstring(child, clean=False)
            if docstring:
                yield docstring
            if isinstance(child, ast.ClassDef):
                yield from _walk_definitions(child)
        elif isinstance(child, ast.If | ast.Try):
            yield from _walk_definitions(child)


def _search_roots() -> list[Path]:
    """Return the folders of installed packages, then the standard library's."""
    installed = [Path(entry) for entry in sys.path if entry.endswith("-packages")]
    own = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")]
    return list(dict.fromkeys([*own[:2], *installed, own[2]]))


def _mix(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
