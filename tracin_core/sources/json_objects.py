"""Objects inside of objects as columns of their own, and tables written as one object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tracin_core.sources.rows import MAX_COLUMNS

_MAX_PARTS = 50  # of one column; an object with more names is rather a dictionary than a row
_MAX_DEPTH = 8  # as deep as a choice lies in an export of Label Studio
_LISTED = 3  # objects of a list; more are rather marked passages or boxes
Path = tuple[str | int, ...]


class ColumnPaths:
    """Collects where the columns of rows lie: at the top, or inside of objects.

    Attributes:
        unfolded: Columns at the top whose objects became columns.
    """

    def __init__(self) -> None:
        self.unfolded: list[str] = []
        self._top: dict[str, dict[str, Path]] = {}
        self._plain: set[str] = set()

    def add(self, row: Mapping[str, Any]) -> None:
        """Look at one more row."""
        for name, value in row.items():
            parts = self._top.setdefault(name, {})
            if not _has_parts(value):
                if value is not None and value not in ([], {}):
                    self._plain.add(name)
            elif len(parts) <= _MAX_PARTS:
                _collect(parts, name, (name,), value, 0)

    @property
    def num_names(self) -> int:
        """Return how many names at the top were met."""
        return len(self._top)

    def finish(self) -> dict[str, Path]:
        """Return the path of each column by its name, in the order they were met."""
        paths: dict[str, Path] = {}
        can_unfold = sum(map(len, self._top.values())) + len(self._top) <= MAX_COLUMNS
        for name, parts in self._top.items():
            unfolds = can_unfold and 0 < len(parts) <= _MAX_PARTS
            # A name with a point in it may be one of a column at the top.
            unfolds = unfolds and not parts.keys() & self._top.keys()
            if not unfolds or name in self._plain:
                paths[name] = (name,)
            if unfolds:
                self.unfolded.append(name)
                paths |= parts
        return paths


def look_up(row: Mapping[str, Any], path: Path) -> Any:
    """Return what lies at a path, None where there is nothing."""
    found: Any = row
    for step in path:
        if isinstance(found, Mapping):
            found = found.get(str(step))
        elif isinstance(found, list) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            return None
    return found


def unfold_table(found: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the rows of a table that is written as a single object, None where it is none.

    It may hold one list of rows, a list for each column, or for each column an object with the
    values by row, as pandas' ``to_json`` writes it.
    """
    values = list(found.values())
    lists = [value for value in values if _is_rows(value)]
    if len(lists) == 1:
        return list(lists[0])
    if len(values) < 2:
        return None
    if all(isinstance(value, list) and len(value) > 1 for value in values):
        return _from_columns(found, [len(value) for value in values])
    if all(isinstance(value, dict) and len(value) > 1 for value in values):
        keys = list(values[0])
        if all(list(value) == keys for value in values):
            return [{name: found[name][key] for name in found} for key in keys]
    return None


def _from_columns(
    found: Mapping[str, Sequence[Any]], lengths: Sequence[int]
) -> list[dict[str, Any]] | None:
    if len(set(lengths)) > 1:
        return None
    return [dict(zip(found, cells, strict=True)) for cells in zip(*found.values(), strict=True)]


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(v, dict) for v in value)


def _has_parts(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(one, dict) for one in value[:_LISTED])
    return isinstance(value, dict) and bool(value)


def _collect(parts: dict[str, Path], name: str, path: Path, value: Any, depth: int) -> None:
    if not _has_parts(value) or depth == _MAX_DEPTH:
        parts[name] = path
        return
    items: Iterable[tuple[str | int, Any]] = (
        enumerate(value[:_LISTED]) if isinstance(value, list) else value.items()
    )
    for step, inner in items:
        if len(parts) > _MAX_PARTS:
            return
        _collect(parts, f"{name}.{step}", (*path, step), inner, depth + 1)
