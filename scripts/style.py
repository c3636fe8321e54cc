"""Count what the house style promises: sizes, single importers, full folders, import cycles.

``python -m scripts.style`` prints a Markdown table, and fails where files import each other in a
circle.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tracin_core", "relabel", "ui", "pages", "tests")
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Imports = Mapping[str, Set[str]]  # module -> modules that it imports


@dataclass(frozen=True)
class Module:
    """One file of Python.

    Attributes:
        name: Its dotted name; of an ``__init__.py`` that of its package.
        path: Where it lies, from the root.
        source: Its text.
    """

    name: str
    path: Path
    source: str

    @property
    def is_package(self) -> bool:
        """Whether it is an ``__init__.py``."""
        return self.path.name == "__init__.py"

    @property
    def num_lines(self) -> int:
        """All lines, as ``wc -l`` counts them."""
        return self.source.count("\n")

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.source)

    @cached_property
    def code_lines(self) -> frozenset[int]:
        """The numbers of the lines that hold more than a comment."""
        tokens = tokenize.generate_tokens(io.StringIO(self.source).readline)
        spans = (
            range(token.start[0], token.end[0] + 1)
            for token in tokens
            if token.type not in _NO_CODE
        )
        return frozenset(line for span in spans for line in span)

    def function_sizes(self) -> list[tuple[int, int]]:
        """Return all lines of each function and those of code, inner functions included."""
        found = (node for node in ast.walk(self.tree) if isinstance(node, Function))
        return [(len(_span(node)), self._count_code(node)) for node in found]

    def _count_code(self, node: Function) -> int:
        lines = self.code_lines & set(_span(node))
        if ast.get_docstring(node, clean=False) is not None:
            lines -= set(_span(node.body[0]))
        return len(lines)


def _span(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


@dataclass(frozen=True)
class PackageCount:
    """What one package comes to.

    Attributes:
        title: Its name.
        num_files: Its files.
        num_lines: Their lines, all of them.
        median_lines: The median file's lines.
        largest: The longest file.
        function_lines: Median and 90th percentile of the functions' lines, from ``def`` on.
        function_code: The same without docstrings, comments and empty lines.
        num_modules: Files that could be a part of another one: all but ``__init__.py``.
        single_importers: Those of them that one module imports, which lies beside them.
        fullest: The folder that holds most files, and how many.
    """

    title: str
    num_files: int
    num_lines: int
    median_lines: float
    largest: Module
    function_lines: tuple[float, float]
    function_code: tuple[float, float]
    num_modules: int
    single_importers: tuple[str, ...]
    fullest: tuple[Path, int]


def read_modules(root: Path, packages: Sequence[str] = PACKAGES) -> list[Module]:
    """Return every file of the packages that exist, and the scripts that lie in the root."""
    paths = [path for name in packages for path in sorted((root / name).rglob("*.py"))]
    return [_read_module(root, path) for path in [*paths, *sorted(root.glob("*.py"))]]


def _read_module(root: Path, path: Path) -> Module:
    place = path.relative_to(root)
    parts = place.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" and parts[:-1] else parts)
    return Module(name, place, path.read_text(encoding="utf-8"))


def find_imports(modules: Sequence[Module], *, typing_only: bool = False) -> dict[str, set[str]]:
    """Return which of the modules each one imports, at its top or inside a function.

    Args:
        modules: All modules that count; imports of others are left out.
        typing_only: Whether to count those under ``if TYPE_CHECKING`` as well.
    """
    names = {module.name for module in modules}
    return {
        module.name: {
            target
            for node in _walk(module.tree, typing_only)
            for target in _resolve(node, module, names)
        }
        - {module.name}
        for module in modules
    }


def _walk(node: ast.AST, typing_only: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for inner in [*(child.body if typing_only else []), *child.orelse]:
                yield from _walk(ast.Module([inner], []), typing_only)
        elif not isinstance(child, ast.expr):  # in which no statement stands
            yield from _walk(child, typing_only)


def _resolve(node: ast.Import | ast.ImportFrom, module: Module, names: Set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in names)
        return
    base = _absolute_name(node, module)
    for alias in node.names:
        inner = f"{base}.{alias.name}"
        if inner in names:
            yield inner
        elif base in names:
            yield base


def _absolute_name(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    # One dot is the module's package, which for an __init__.py is the module itself.
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def find_single_importers(modules: Sequence[Module], imports: Imports) -> list[str]:
    """Return the modules that exactly one other module imports, one in the same folder.

    Tests do not count as importers: they import what they test.
    """
    folders = {module.name: module.path.parent for module in modules}
    importers: dict[str, list[str]] = defaultdict(list)
    for importer, targets in imports.items():
        if importer.split(".")[0] != "tests":
            for target in targets:
                importers[target].append(importer)
    return [
        module.name
        for module in modules
        if not module.is_package
        and len(importers[module.name]) == 1
        and folders[importers[module.name][0]] == module.path.parent
    ]


def find_cycles(imports: Imports) -> list[list[str]]:
    """Return the groups of modules that import each other in circles."""
    names = sorted(imports)
    place = {name: number for number, name in enumerate(names)}
    edges = [(place[name], place[target]) for name in names for target in imports[name]]
    rows, columns = np.array(edges, dtype=int).reshape(-1, 2).T
    shape = (len(names), len(names))
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=shape)
    _, labels = connected_components(graph, connection="strong")
    groups: dict[int, list[str]] = defaultdict(list)
    for name, label in zip(names, labels, strict=True):
        groups[int(label)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def count_packages(
    modules: Sequence[Module], imports: Imports, packages: Sequence[str] = PACKAGES
) -> list[PackageCount]:
    """Return the counts of each package that has files, and last those of all but the tests."""
    single = set(find_single_importers(modules, imports))
    groups = {
        package: [module for module in modules if module.path.parts[0] == package]
        for package in packages
    }
    product = [own for package, own in groups.items() if package != "tests"]
    groups["all but tests"] = [module for own in product for module in own]
    return [_count_group(title, own, single) for title, own in groups.items() if own]


def _count_group(title: str, modules: Sequence[Module], single: Set[str]) -> PackageCount:
    sizes = [size for module in modules for size in module.function_sizes()]
    return PackageCount(
        title=title,
        num_files=len(modules),
        num_lines=sum(module.num_lines for module in modules),
        median_lines=median(module.num_lines for module in modules),
        largest=max(modules, key=lambda module: module.num_lines),
        function_lines=_summarize([whole for whole, _ in sizes]),
        function_code=_summarize([code for _, code in sizes]),
        num_modules=sum(not module.is_package for module in modules),
        single_importers=tuple(module.name for module in modules if module.name in single),
        fullest=Counter(module.path.parent for module in modules).most_common(1)[0],
    )


def _summarize(sizes: Sequence[int]) -> tuple[float, float]:
    """Return the median and the 90th percentile, zeros where there is nothing."""
    if not sizes:
        return 0.0, 0.0
    return float(np.percentile(sizes, 50)), float(np.percentile(sizes, 90))


def format_table(counts: Sequence[PackageCount]) -> str:
    """Return the counts as a Markdown table."""
    rows = [
        "| package | files | lines | median file | largest file | function lines p50 / p90 "
        "| of code p50 / p90 | single importer beside it | fullest folder |",
        "|---|---:|---:|---:|---|---:|---:|---:|---|",
    ]
    for count in counts:
        folder, num_files = count.fullest
        rows.append(
            f"| {count.title} | {count.num_files} | {count.num_lines:,} "
            f"| {count.median_lines:g} | {count.largest.num_lines} ({count.largest.path}) "
            f"| {_format_pair(count.function_lines)} | {_format_pair(count.function_code)} "
            f"| {len(count.single_importers)} of {count.num_modules} | {num_files} ({folder}) |"
        )
    return "\n".join(rows)


def _format_pair(pair: tuple[float, float]) -> str:
    return f"{pair[0]:g} / {pair[1]:g}"


def format_cycles(title: str, cycles: Sequence[Sequence[str]]) -> str:
    """Return one line, and one more for each group of modules."""
    groups = [f"- {', '.join(group)}" for group in cycles]
    return "\n".join([f"{title}: {len(cycles)}", *groups])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table.

    Returns:
        The exit status: 1 where files import each other in circles.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the packages")
    parser.add_argument("--list", action="store_true", help="name the single importers, too")
    options = parser.parse_args(arguments)
    modules = read_modules(options.root)
    imports = find_imports(modules)
    counts = count_packages(modules, imports)
    cycles = find_cycles(imports)
    print(format_table(counts))
    print()
    print(format_cycles("Import cycles between files", cycles))
    with_types = find_cycles(find_imports(modules, typing_only=True))
    print(format_cycles("The same with imports for types alone", with_types))
    if options.list:
        print("\n".join(find_single_importers(modules, imports)))
    return 1 if cycles else 0


if __name__ == "__main__":
    sys.exit(main())
