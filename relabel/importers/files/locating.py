"""What a folder holds: a saved data set, a table with or without pictures, or files in folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from relabel.importers.columns.column_names import (
    NO_PICTURES,
    PICTURES,
    is_clutter,
    is_container,
    is_split,
)
from relabel.importers.files.images import add_ending
from relabel.importers.files.named_pictures import leaves_classes_to_folders, read_path
from relabel.importers.formats.registry import IMPORTERS
from relabel.importers.options import ImportOptions
from relabel.importers.records import Problem, RowReader
from tracin_core.errors import InputError

SAVED = ("dataset_info.json", "dataset_dict.json", "state.json")
ANNOTATIONS = "annotations"  # COCO's folder for its files; lies beside those of the pictures
_ROWS = 50  # of a table that are looked at
_FIRST = 10  # of which at least one must name a picture
_FOLDERS = 50  # that may hold the pictures of a table
# Only a table has these.
_OF_TABLES = (
    *("text", "image", "label", "features", "target", "split", "key", "truth", "columns"),
    *("image_root", "delimiter", "sheet"),
)
# What Hugging Face calls the column of the pictures beside others of files.
_OF_PICTURES = ("file_name", "image_file_name")
OpenReader = Callable[[Path, ImportOptions], RowReader]


@dataclass(frozen=True)
class FoundTable:
    """A table in a folder.

    Attributes:
        path: Of the table.
        image: Its column with the names of the pictures that lie there; None where it has none.
        root: The folder that those names start from.
        others: Other tables beside it, which are left out.
        parts: The tables where there is one in each of several folders, with their own roots.
        reader: Of its rows, where it was opened already.
    """

    path: Path
    image: str | None = None
    root: Path | None = None
    others: tuple[str, ...] = ()
    parts: tuple[FoundTable, ...] = ()
    reader: RowReader | None = None

    @property
    def is_plain(self) -> bool:
        """Return whether the table's own path says where its pictures are."""
        return not self.parts and self.root in (None, self.path.parent)


def is_table(name: str) -> bool:
    """Return whether a file is called like a table or like arrays."""
    suffixes = PurePosixPath(name.lower()).suffixes
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return bool(suffixes) and any(
        suffixes[-1] in one.extensions
        for one in IMPORTERS.values()
        if one.layout in ("rows", "arrays") and not one.is_sniffed
    )


def may_be_table(name: str) -> bool:
    """Return whether a file is called like a table, or like what may be anything."""
    ending = PurePosixPath(name.lower().removesuffix(".gz")).suffix
    return is_table(name) or any(
        ending in one.extensions for one in IMPORTERS.values() if one.is_sniffed
    )


def list_tables(folder: Path) -> list[str]:
    """Return the names of the tables in a folder, also of those that are known by what is in them.

    The latter count where there are no others: beside a table they say the same, or nothing.
    """
    files = list_folder(folder)[1]
    plain = [name for name in files if is_table(name)]
    sniffed = [one for one in IMPORTERS.values() if one.is_sniffed]
    return plain or [
        name
        for name in files
        if may_be_table(name) and any(one.sniff(folder / name) for one in sniffed)
    ]


def unwrap(folder: Path) -> Path:
    """Return the folder behind wrappings of one folder, as archives often have them."""
    *_, inner = list_wrappings(folder)
    return inner


def list_wrappings(folder: Path) -> Iterator[Path]:
    """Yield a folder, and as long as there is but one folder in it, that one."""
    while True:
        yield folder
        folders, files = list_folder(folder)
        snapshot = _find_snapshot(folder) if {"snapshots", "blobs"} <= set(folders) else None
        if snapshot is None and (len(folders) != 1 or files):
            return
        folder = snapshot or folder / folders[0]


def lies_beside_folders(folder: Path) -> bool:
    """Return whether Parquet files are only beside folders, which may be the data."""
    folders, files = list_folder(folder)
    is_table = any(name.endswith(".parquet") for name in files)
    return is_table and len(folders) > 1 and not any(name in SAVED for name in files)


def _find_snapshot(folder: Path) -> Path | None:
    """Return the files of a repository in the hub's cache: the newest, or the only ones."""
    snapshots = folder / "snapshots"
    names = list_folder(snapshots)[0]
    try:
        newest = (folder / "refs" / "main").read_text("utf-8").strip()
    except (OSError, ValueError):
        newest = ""
    chosen = newest if newest in names else names[0] if len(names) == 1 else None
    return None if chosen is None else snapshots / chosen


def list_folder(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the files in a folder, what nobody means aside."""
    try:
        with os.scandir(folder) as entries:
            found = [one for one in entries if not is_clutter(one.name)]
            folders = sorted(one.name for one in found if one.is_dir(follow_symlinks=False))
            return folders, sorted(one.name for one in found if _is_file(one))
    except OSError:
        return [], []  # whoever reads it says why it cannot be read


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def find_table(folder: Path, options: ImportOptions, open_reader: OpenReader) -> FoundTable | None:
    """Return the table that a folder is about, None where it is about its files.

    A table beside folders counts if it names the pictures in them, if the person named a column,
    or if there are no folders that could be classes.

    Args:
        folder: Looked into, behind wrappings of one folder.
        options: What the person says.
        open_reader: Opens a table.

    Raises:
        InputError: If there are several tables and nothing else.
    """
    root = unwrap(folder)
    folders, files = list_folder(root)
    tables = list_tables(root)
    if not tables:
        return _find_annotations(root, folders, options, open_reader) or _find_parts(
            root, folders, options, open_reader
        )
    naming = [
        found
        for name in tables
        if (found := _find_pictures(root / name, folder, options, open_reader)) is not None
    ]
    is_said = options.format is not None and IMPORTERS[options.format].layout == "rows"
    is_meant = is_said or any(getattr(options, one) for one in _OF_TABLES)
    if len(naming) == 1 and not is_meant and _leaves_classes(naming[0]):
        return None
    if len(naming) == 1:
        others = tuple(name for name in tables if name != naming[0].path.name)
        return replace(naming[0], others=others)
    pictures = any(PurePosixPath(name).suffix.lower() in PICTURES for name in files)
    if len(tables) == 1 and (is_meant or (len(folders) < 2 and not pictures)):
        return FoundTable(root / tables[0])
    if naming or is_meant or not folders:
        raise _several(folder, tables, bool(naming))
    return None


def find_pictures_below(folder: Path) -> str | None:
    """Return the folder of a picture that lies in a folder or in one of those in it."""
    root = unwrap(folder)
    for inner in [root, *(root / name for name in list_folder(root)[0][:_FOLDERS])]:
        if any(PurePosixPath(name).suffix.lower() in PICTURES for name in list_folder(inner)[1]):
            return inner.name
    return None


def _find_annotations(
    root: Path, folders: Collection[str], options: ImportOptions, open_reader: OpenReader
) -> FoundTable | None:
    """Return the only table in a folder of annotations, if it names the pictures beside that."""
    for name in folders:
        tables = list_tables(root / name) if name.lower() == ANNOTATIONS else []
        if len(tables) == 1:
            found = _find_pictures(root / name / tables[0], root, options, open_reader)
            return None if found is None or _leaves_classes(found) else found
    return None


def _find_parts(
    root: Path, folders: Collection[str], options: ImportOptions, open_reader: OpenReader
) -> FoundTable | None:
    """Return the tables that lie in each of several folders and name the pictures there."""
    parts = []
    for name in folders:
        tables = list_tables(root / name)
        found = (
            _find_pictures(root / name / tables[0], root / name, options, open_reader)
            if len(tables) == 1
            else None
        )
        if found is None and not is_container(name):
            return None
        parts += [found] if found is not None else []
    if len(parts) < 2 or len({(one.path.name, one.image) for one in parts}) > 1:
        return None
    if all(map(_leaves_classes, parts)) and not any(getattr(options, one) for one in _OF_TABLES):
        return None
    return replace(parts[0], root=root, parts=tuple(parts))


def _leaves_classes(table: FoundTable) -> bool:
    """Return whether a table that names pictures leaves it to their folders what they are."""
    return (
        table.reader is not None
        and table.image is not None
        and leaves_classes_to_folders(table.reader, table.image)
    )


def _several(folder: Path, tables: Collection[str], name_pictures: bool) -> InputError:
    shown = ", ".join(list(tables)[:10])
    if len(tables) == 1:
        return InputError(
            f"{folder} holds the table {shown} and pictures, but no column of it names them. "
            "Expected a column of file names, with the folders on the way to them if there are "
            "some. Add one, or sort the pictures into one folder for each class."
        )
    extra = ", with --image-root for the folder of the pictures" if name_pictures else ""
    return InputError(
        f"{folder} holds {len(tables)} tables: {shown}. Expected one. Name one of the tables as "
        f"the path{extra}; import the tables one after the other, the second one into the same "
        "project. Of an archive, unpack it first."
    )


def find_pictures_of(table: Path, reader: RowReader, options: ImportOptions) -> FoundTable | None:
    """Return where the pictures lie that a table names with their endings, if below its folder.

    Args:
        table: Named by the person itself.
        reader: Of its rows.
        options: What else was said.

    Returns:
        None where they lie in the table's own folder, as is to be expected, or nowhere.
    """
    if options.image_root is not None or options.text or options.features:
        return None
    found = _find_pictures(table, table.parent, options, lambda path, said: reader, bare=False)
    return None if found is None or found.is_plain else found


def _find_pictures(
    table: Path,
    top: Path,
    options: ImportOptions,
    open_reader: OpenReader,
    *,
    bare: bool = True,
) -> FoundTable | None:
    """Return the column of a table that names files which lie there, and where they start from.

    ``bare`` names, without an ending, may be left out of account.
    """
    try:
        reader = open_reader(table, options)
        names = list(reader.schema.columns)
        # What may be a path and nothing else: a cell may be as large as a picture.
        values = [
            [read_path(cell) for cell in row.values]
            for row in islice(reader.read_rows(names), _ROWS)
            if not isinstance(row, Problem)
        ]
    except InputError:
        return None  # a table that cannot be read says so when it is opened
    roots = list(islice(_possible_roots(table.parent, top), _FOLDERS))
    best: tuple[tuple[int, int, bool], str, Path] | None = None
    wanted = options.image or reader.schema.roles.get("image")
    for number, name in enumerate(names):
        if wanted not in (None, name):
            continue
        cells = [cell for row in values if (cell := row[number])]
        for root in roots:
            short = root == table.parent or is_container(root.name) or is_split(root.name)
            named = [_names_picture(root, cell, bare=bare and short) for cell in cells[:_FIRST]]
            # Most columns name nothing: a few cells tell.
            if not any(named):
                continue
            hits = sum(named) + sum(
                _names_picture(root, cell, bare=bare and short) for cell in cells[_FIRST:]
            )
            # An identifier may name pictures as file names do, but for the ending; masks are files.
            endings = sum(PurePosixPath(cell).suffix.lower() in PICTURES for cell in cells)
            rank = hits, endings, name in _OF_PICTURES
            if hits and 2 * hits >= len(cells) and (best is None or rank > best[0]):
                best = (rank, name, root)
    return None if best is None else FoundTable(table, best[1], best[2], reader=reader)


def _possible_roots(folder: Path, top: Path) -> Iterator[Path]:
    """Yield the folders that names in a table may start from: its own, those around and below."""
    yield folder
    around = folder
    while around != top and around.is_relative_to(top):
        around = around.parent
        yield around
    below = [folder / name for name in list_folder(folder)[0]]
    yield from below
    for one in below[:_FOLDERS]:
        yield from (one / name for name in list_folder(one)[0])


def _names_picture(root: Path, cell: str, *, bare: bool) -> bool:
    """Return whether a cell names a picture; without its ending only where no class is guessed.

    Numbers of any kind would name pictures of a class that are numbered.
    """
    has_ending = PurePosixPath(cell).suffix.lower() in PICTURES
    return (bare or has_ending) and find_picture(root, cell) is not None


def find_picture(root: Path, name: str) -> Path | None:
    """Return the picture that a name means, also where its ending is left out; None for none."""
    path = root / name
    if path.suffix.lower() in NO_PICTURES:
        return None
    try:
        return path if path.is_file() else add_ending(path)
    except (OSError, ValueError):  # a name that no file can have
        return None
