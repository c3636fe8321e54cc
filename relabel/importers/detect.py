"""Detect the format of data, by its name, its folder or its first bytes, and open it.

``open_source`` is the way in. Several tables that lie in a folder each, as for training and
testing, are opened as one. ``list_columns`` gives the columns, or arrays, of data whose roles
cannot be found, so that a person can name them.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from relabel.archives import is_tar, is_zip
from relabel.files import explain_disk_errors
from relabel.importers.accepted_options import check_have_effect, check_used
from relabel.importers.addresses import is_address, refuse_address
from relabel.importers.columns.column_names import say_splits
from relabel.importers.columns.profiles import profile_table
from relabel.importers.files.locating import (
    FoundTable,
    find_pictures_below,
    find_pictures_of,
    find_table,
    list_folder,
    list_wrappings,
)
from relabel.importers.files.named_pictures import describe_pictures
from relabel.importers.files.trees import needs_unpacking, unpack_archive
from relabel.importers.formats.registry import IMPORTERS, Importer, describe_importers
from relabel.importers.options import ImportOptions
from relabel.importers.readers.arrays import ArrayFile
from relabel.importers.readers.backups import BackupFoundError, is_backup
from relabel.importers.readers.table import TableSource, ending_of, starts_with
from relabel.importers.records import Column, Problem, Row, RowReader, Source
from relabel.locks import FolderHold, make_unpacking_folder
from tracin_core.errors import InputError
from tracin_core.files import check_ordinary, expand_path

_POINTER = b"version https://git-lfs"
# What is no data, or none that can be read here; some of these are zip archives inside.
_INSTEAD = {
    ".json": "Expected objects or an array of objects in it, such as "
    '[{"text": "...", "label": "..."}].',
    **dict.fromkeys((".xls", ".xlsb", ".ods"), "Save the sheet as CSV, or as .xlsx."),
    ".npy": "Save inputs and labels together: "
    'np.savez("data.npz", x=np.load("x.npy"), y=np.load("y.npy")).',
    **dict.fromkeys(
        (".pkl", ".pickle"),
        "Pickles can run code and are not loaded; save the table as CSV or Parquet.",
    ),
    **dict.fromkeys((".pt", ".pth"), "Save the arrays with np.savez, or the images as files."),
}


def open_source(path: Path, options: ImportOptions) -> Source:
    """Open data and find out what the person did not say.

    Args:
        path: A file or folder.
        options: What the person says.

    Raises:
        InputError: If the path does not exist, is of no format that is known, or is not what
            the options say.
        OptionWithoutEffectError: If something was said that changes nothing for such data.
    """
    if is_address(path):
        raise refuse_address(path)
    path = expand_path(path)
    if not path.exists():
        raise InputError(
            f"{path} does not exist. Expected {describe_importers()}. Check the path's spelling."
        )
    check_ordinary(path, "a file or a folder with data")
    if not path.is_dir() and starts_with(path, _POINTER):
        raise InputError(
            f"{path} is a pointer of Git LFS, expected the file itself. Fetch it with "
            "`git lfs pull`, or download it again."
        )
    if is_backup(path):
        raise BackupFoundError(path)
    if _is_packed_data(path, options):
        return _open_packed(path, options)
    if path.is_dir() and _may_be(options, "rows") and not _is_claimed(options):
        table = find_table_in(path, options)
        if table is not None:
            return _open_found(table, path, options)
    importer = IMPORTERS[options.format] if options.format else find_importer(path, options)
    check_have_effect(importer.find_form(path), options)
    source = _open_as(importer, _behind_wrappings(path, importer), options)
    check_used(source, options)
    return source


def _may_be(options: ImportOptions, *layouts: str) -> bool:
    """Return whether what was said leaves it open that data is of one of these layouts."""
    return options.format is None or IMPORTERS[options.format].layout in layouts


def _is_claimed(options: ImportOptions) -> bool:
    """Return whether an option was said that is about one kind of data alone."""
    return _find_claiming(options) is not None


def _find_claiming(options: ImportOptions) -> Importer | None:
    for importer in IMPORTERS.values():
        if importer.claimed_by and getattr(options, importer.claimed_by) is not None:
            return importer
    return None


def _open_as(importer: Importer, path: Path, options: ImportOptions) -> Source:
    """Open data whose kind is known; a table, whose pictures may lie elsewhere, with them."""
    reader = importer.read_rows(path, options)
    if reader is None:
        return importer.open(path, options)
    if importer.layout != "rows":
        return TableSource(reader, options, importer.name)
    table = find_pictures_of(path, reader, options)
    if table is not None:
        return _open_found(table, path.parent, options)
    return TableSource(reader, options, importer.name)


def find_in_folder(folder: Path) -> Path:
    """Return the table that a folder is about, if its path says everything; else the folder.

    Raises:
        InputError: If there are several tables and nothing else.
    """
    table = find_table_in(folder, ImportOptions())
    return table.path if table is not None and table.is_plain else folder


def find_table_in(path: Path, options: ImportOptions) -> FoundTable | None:
    """Return the table that a folder is about, None where it is a data set or files in folders."""
    is_other = options.format is None and _find_dataset(path) is not None
    return None if is_other else find_table(path, options, open_reader)


def _open_found(table: FoundTable, folder: Path, options: ImportOptions) -> Source:
    """Open a table that lies in a folder, its pictures beside it."""
    is_said = options.text or options.features or table.image is None
    if not is_said:
        options = replace(options, image=table.image)
    if table.root is None or is_said or options.image_root is not None:
        source = open_source(table.path, options)
    else:
        importer = _find_row_importer(table.path)
        reader = _open_parts(table) if table.parts else table.reader
        reader = reader or open_reader(table.path, options)
        reader.folder = table.root
        check_have_effect(importer.find_form(table.path), options)
        source = TableSource(reader, options, importer.name)
        check_used(source, options)
    named = "" if is_said else f", which names pictures in column {table.image!r}"
    others = f" Other tables are left out: {', '.join(table.others[:5])}." if table.others else ""
    if named or others or list_folder(table.path.parent)[0]:
        tables = f"{'tables' if table.parts else 'the table'} {table.path.name}"
        root = table.root
        if root is not None and root not in (table.path.parent, folder) and not table.parts:
            named += f" of the folder {root.name}"
        source.notes = (
            f"The folder holds {tables}{named}; labels are taken from it, not from folders. "
            f"--format image-folder says otherwise.{others}",
            *source.notes,
        )
    if not is_said and isinstance(source, TableSource) and source.options.image is not None:
        root = table.root or table.path.parent
        found = describe_pictures(source.reader, source.options.image, root)
        source.notes = (*source.notes, *found)
    if table.image is None and source.kind != "image" and (where := find_pictures_below(folder)):
        source.notes = (
            f"Pictures lie beside the table, as in {where}, but no column names them with the "
            "folders on the way to them: they are not used. If they are the examples, put them "
            "into one folder, and name it with --image-root and the column with --image.",
            *source.notes,
        )
    return source


def _open_parts(table: FoundTable) -> RowReader:
    """Open the tables of several folders as one, which may be for training and testing."""
    root = table.root or table.path.parent
    readers = {
        (one.root or one.path.parent).relative_to(root).as_posix(): one.reader
        for one in table.parts
        if one.reader is not None
    }
    are_splits = say_splits([name.split("/")[0] for name in readers])
    return SplitTablesReader(readers, root, table.image or "", are_splits=are_splits)


def _behind_wrappings(path: Path, importer: Importer) -> Path:
    """Return the folder of a data set, where others are around it."""
    found = _find_dataset(path) if path.is_dir() else None
    return found[1] if found is not None and found[0] is importer else path


def find_importer(path: Path, options: ImportOptions) -> Importer:
    """Return what imports this data.

    Raises:
        InputError: If nothing does.
    """
    found = _find_claiming(options)
    if found is None and path.is_dir():
        dataset = _find_dataset(path)
        found = None if dataset is None else dataset[0]
    if found is None:
        found = next((one for one in _list_candidates(path) if one.sniff(path)), None)
    if found is None:
        raise _unknown(path, ending_of(path))
    return found


def _list_candidates(path: Path) -> Iterator[Importer]:
    """Yield what may import a file or folder, the likelier before the others.

    A file that is called like one kind may be another one, but what is called like something that
    is no data is not looked into.
    """
    importers = list(reversed(IMPORTERS.values()))
    if path.is_dir():
        yield from (one for one in importers if one.layout == "folders")
        return
    ending = ending_of(path)
    likely = [one for one in importers if ending in (*one.extensions, *one.other_extensions)]
    yield from likely
    if ending not in _INSTEAD:
        yield from (one for one in importers if one not in likely)


def _find_row_importer(path: Path) -> Importer:
    """Return what reads the rows of a file, by its ending; the usual one where none says so.

    Raises:
        InputError: If such files have no rows.
    """
    ending = ending_of(path)
    named = [one for one in IMPORTERS.values() if ending in one.extensions]
    known = [one for one in named if one.layout == "rows" and one.is_sniffed and one.sniff(path)]
    if known:
        return known[-1]
    if named and all(one.layout != "rows" for one in named):
        raise InputError(
            f"{path} is a {named[0].title}, expected a table: one .csv, .tsv, .parquet or .jsonl "
            "file. Name the file of a table."
        )
    usual = (one for one in named if one.layout == "rows" and not one.is_sniffed)
    return next(usual, IMPORTERS["table"])


def open_reader(path: Path, options: ImportOptions) -> RowReader:
    """Open a table's file to read its rows.

    Raises:
        InputError: If it is no table that can be read.
    """
    importer = _find_row_importer(path)
    reader = importer.read_rows(path, options)
    if reader is None:
        raise InputError(f"{path} has no rows ({importer.title}). Expected a table.")
    return reader


def _is_packed_data(path: Path, options: ImportOptions) -> bool:
    """Return whether a file is an archive of a table or a saved data set."""
    if path.is_dir() or not _may_be(options, "rows", "dataset"):
        return False
    if ending_of(path) in _INSTEAD or any(one.sniff(path) for one in _list_single_files(path)):
        return False
    is_archive = is_zip(path) or is_tar(path)
    return is_archive and (options.format is not None or needs_unpacking(path))


def _list_single_files(path: Path) -> Iterator[Importer]:
    """Yield what imports a file as it is, be it an archive or not."""
    for importer in _list_candidates(path):
        if importer.layout != "folders":
            yield importer


def _open_packed(path: Path, options: ImportOptions) -> Source:
    """Open what an archive holds, unpacked for as long as the source is used."""
    folder, hold = make_unpacking_folder()
    try:
        with explain_disk_errors(folder):
            found = unpack_archive(path, folder / path.name)
        # As the folder would be: what is around the data tells how names in it are meant.
        source = open_source(folder / path.name, options)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(source, _let_go, folder, hold)
    what = f" holds the table {found.name}, and" if found.is_file() else ""
    is_table = IMPORTERS[source.format].layout == "rows"
    other = " --format image-folder says otherwise." if is_table else ""
    source.notes = (
        f"The archive{what} is unpacked for the import.{other}",
        *source.notes,
    )
    return source


def _let_go(folder: Path, hold: FolderHold) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    hold.release()


def _find_dataset(path: Path) -> tuple[Importer, Path] | None:
    """Return what imports a data set in its own form, and its folder, also behind wrappings."""
    datasets = [one for one in IMPORTERS.values() if one.layout == "dataset"]
    for folder in list_wrappings(path):
        for importer in datasets:
            if importer.sniff(folder):
                return importer, folder
    return None


def _unknown(path: Path, suffix: str) -> InputError:
    instead = _INSTEAD.get(suffix, "If it is one of them under another name, say so with --format.")
    return InputError(
        f"{path} is of no kind that can be imported. Expected {describe_importers()}. {instead}"
    )


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


class SplitTablesReader:
    """The rows of tables that lie in folders beside each other, one after the other."""

    def __init__(
        self, readers: Mapping[str, RowReader], folder: Path, image: str, *, are_splits: bool
    ) -> None:
        """Compare the columns.

        Args:
            readers: By the folder of the pictures that a table names, below ``folder``.
            folder: Around them.
            image: Column with the pictures' names.
            are_splits: Whether the folders say what is for training and testing.

        Raises:
            InputError: If the columns differ.
        """
        self.name, self.folder = folder.name, folder
        self._readers, self._image = readers, image
        self._splits = {name: name.split("/")[0] if are_splits else None for name in readers}
        schemas = {name: reader.schema for name, reader in readers.items()}
        first, *others = schemas
        for other in others:
            if set(schemas[other].columns) != set(schemas[first].columns):
                raise InputError(
                    f"The tables in {folder} have other columns: {first} has "
                    f"{', '.join(schemas[first].columns[:20])}, but {other} has "
                    f"{', '.join(schemas[other].columns[:20])}. Expected the same. Bring them to "
                    "the same columns, or import them one by one."
                )
        tables = ", ".join(f"{name}/{reader.name}" for name, reader in readers.items())
        self.schema = replace(
            schemas[first],
            splits=tuple(dict.fromkeys(filter(None, self._splits.values()))),
            notes=(*schemas[first].notes, f"Rows are numbered through the tables {tables}."),
            num_rows=None,
        )

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows, numbered through all tables, their pictures named from ``folder``."""
        before = 0
        for name, reader in self._readers.items():
            last = 0
            for row in reader.read_rows(columns):
                if isinstance(row, Problem):
                    last = row.row or last + 1
                    number = before + last
                    yield replace(row, row=number, where=f"row {number:,}")
                    continue
                last = row.number
                yield Row(
                    before + last,
                    self._named_from_folder(name, columns, row.values),
                    self._splits[name],
                    f"{name}/{reader.name}, row {last}",
                )
            before += last

    def _named_from_folder(
        self, name: str, columns: Sequence[str], values: Sequence[object]
    ) -> Sequence[object]:
        """Return a row's values with the folder in the picture's path."""
        return [
            f"{name}/{value}" if column == self._image and isinstance(value, str) else value
            for column, value in zip(columns, values, strict=True)
        ]
