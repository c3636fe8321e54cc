"""Columns, or arrays, whose roles cannot be told, so that a person can name them."""

from __future__ import annotations

from pathlib import Path

from tracin_core.errors import InputError
from tracin_core.sources.array_files import ArrayFile
from tracin_core.sources.opening import find_importer, find_table_in
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.profiles import profile_table
from tracin_core.sources.records import Column


def list_columns(path: Path, options: ImportOptions) -> tuple[Column, ...]:
    """Return what columns a table file has, all without a role; nothing for other data.

    Args:
        path: A file, or a folder with a table in it.
        options: How it is to be read; the columns it names are not looked at.

    Raises:
        InputError: If the file cannot be read as a table.
    """
    if path.is_dir():
        try:
            table = find_table_in(path, options)
        except InputError:  # several: which one is meant is asked for already
            return ()
        if table is None:
            return ()
        path = table.path
    if not path.is_file():
        return ()
    importer = find_importer(path, options)
    if importer.layout == "arrays":
        return _list_arrays(path)
    reader = importer.read_rows(path, options)
    if reader is None:
        return ()
    profile = profile_table(reader)
    columns = []
    for name in reader.schema.columns:
        found = profile.columns.get(name)
        kind = "image" if found is None else "number" if found.is_number else "text"
        columns.append(Column(name, "–", kind, () if found is None else tuple(found.examples)))
    return tuple(columns)


def _list_arrays(path: Path) -> tuple[Column, ...]:
    """Return the arrays of an archive as if they were columns."""
    headers = ArrayFile(path).headers.values()
    kinds = {1: "category", 2: "number"}
    return tuple(
        Column(one.name, "–", kinds.get(len(one.shape), "image"), (str(one.shape), str(one.dtype)))
        for one in headers
        if one.shape
    )
