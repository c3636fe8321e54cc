"""What a table says of the pictures that lie with it: names, classes by folder, and what it omits.

Hugging Face's image folders have such a table, ``metadata.csv``, in the folder or in each split's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from relabel.importers.columns.column_names import (
    LABEL_NAMES,
    PICTURES,
    guess_split,
    is_clutter,
    normalise,
    say_splits,
)
from relabel.importers.records import Problem, RowReader

_FILE_NAME = "file_name"  # ends the name of each column of files in metadata of Hugging Face
_ROWS = 1000
_MOST = 200_000  # pictures that are compared with the names in the table


def read_path(value: Any) -> str:
    """Return a cell as a path below a folder, "" where it cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) < 1000 or "\x00" in value:
        return ""
    parts = PurePosixPath(value.strip().replace("\\", "/")).parts
    return "" if not parts or ".." in parts or parts[0] == "/" else "/".join(parts)


def leaves_classes_to_folders(reader: RowReader, image: str) -> bool:
    """Return whether a table has no column of classes, and its pictures lie in folders of some.

    Captions, identifiers and measures are no classes: no value of theirs comes twice in most rows.
    """
    others = [name for name in _list_columns(reader) if name != image]
    if any(normalise(name) in LABEL_NAMES for name in others):
        return False
    rows = list(islice(reader.read_rows([image, *others]), _ROWS))
    values = [row.values for row in rows if not isinstance(row, Problem)]
    for place in range(1, len(others) + 1):
        cells = [str(row[place]) for row in values]
        if 2 * len(set(cells)) <= len(cells):
            return False
    folders = {_first_folder(read_path(row[0])) for row in values}
    return len(folders) > 1 and "" not in folders and not say_splits(list(folders))


def describe_pictures(reader: RowReader, image: str, root: Path) -> list[str]:
    """Report pictures below a folder that no row names, and folders of splits not followed."""
    files = [name for name in reader.schema.columns if name.endswith(_FILE_NAME) and name != image]
    named: set[str] = set()
    folders: set[str] = set()
    for row in reader.read_rows([image, *files]):
        if not isinstance(row, Problem):
            paths = [path for cell in row.values if (path := read_path(cell))]
            named.update(paths)
            folders.update(_first_folder(path) for path in paths[:1])
    there = list(islice(_list_pictures(root), _MOST + 1))
    missed = [path for path in there if not _is_named(path, named, bool(reader.schema.splits))]
    notes = []
    if missed and len(there) <= _MOST:
        more = ", …" if len(missed) > 3 else ""
        notes.append(
            f"No row names {len(missed):,} of the {len(there):,} pictures in the folder, which are "
            f"left out: {', '.join(missed[:3])}{more}. Add rows for them if they are examples."
        )
    if not reader.schema.splits and {guess_split(one) for one in folders} == {"train", "test"}:
        notes.append(
            f"The pictures lie in folders called like a split ({', '.join(sorted(folders)[:5])}), "
            "which are not followed. A column that says the same is, with --split; so is a table "
            "in each of them."
        )
    return notes


def _list_columns(reader: RowReader) -> Sequence[str]:
    return [name for name in reader.schema.columns if not name.endswith(_FILE_NAME)]


def _first_folder(path: str) -> str:
    first, slash, _ = path.partition("/")
    return first if slash else ""


def _is_named(path: str, named: set[str], in_parts: bool) -> bool:
    """Return whether a path is in the table, also without its ending or below a split's folder."""
    paths = [path, path.partition("/")[2]] if in_parts else [path]
    return any(one in named or one.rpartition(".")[0] in named for one in paths)


def _list_pictures(root: Path) -> Iterator[str]:
    """Yield the paths of the pictures below a folder, by name."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        for name in sorted(files):
            if PurePosixPath(name).suffix.lower() in PICTURES and not is_clutter(name):
                yield (Path(folder) / name).relative_to(root).as_posix()
