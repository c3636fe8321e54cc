"""Open data of any kind that can be imported: by its name, its folder or its first bytes."""

from __future__ import annotations

import shutil
import weakref
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tracin_core.archives import is_tar, is_zip, open_zip
from tracin_core.errors import InputError
from tracin_core.files import check_ordinary, disk_errors_explained, expand_path
from tracin_core.holding import FolderHold, make_unpacking_folder
from tracin_core.sources.accepted_options import check_have_effect, check_used
from tracin_core.sources.backups import BackupFoundError, is_backup
from tracin_core.sources.folder_words import say_splits
from tracin_core.sources.locating import (
    SAVED,
    FoundTable,
    find_pictures_below,
    find_pictures_of,
    find_table,
    list_folder,
    list_wrappings,
)
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.records import Source
from tracin_core.sources.rows import RowReader
from tracin_core.sources.text_encoding import open_bytes, unreadable
from tracin_core.sources.unpacking import needs_unpacking, unpack_archive

_JSON_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv", ".txt", ".tab", ".psv", *_JSON_LINES)
_POINTER = b"version https://git-lfs"
# What is no data, or none that can be read here; some of these are zip archives inside.
_INSTEAD = {
    ".json": "Expected objects or an array of objects in it, such as "
    '[{"text": "...", "label": "..."}].',
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), "Save the sheet as CSV."),
    ".npy": "Save inputs and labels together: "
    'np.savez("data.npz", x=np.load("x.npy"), y=np.load("y.npy")).',
    **dict.fromkeys(
        (".pkl", ".pickle"),
        "Pickles can run code and are not loaded; save the table as CSV or Parquet.",
    ),
    **dict.fromkeys((".pt", ".pth"), "Save the arrays with np.savez, or the images as files."),
    ".arrow": "Name the folder that `save_to_disk` wrote.",
}
FORMAT_LIST = (
    "a folder of images or of text files with one folder a class, a table (.csv, .tsv, .parquet, "
    ".jsonl, also .gz), a saved Hugging Face data set (all three also as .zip or .tar.gz), a "
    "torchvision data set, or .npz"
)


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
    path = expand_path(path)
    if not path.exists():
        raise InputError(
            f"{path} does not exist. Expected {FORMAT_LIST}. Check the path's spelling."
        )
    check_ordinary(path, "a file or a folder with data")
    if not path.is_dir() and _starts_with(path, _POINTER):
        raise InputError(
            f"{path} is a pointer of Git LFS, expected the file itself. Fetch it with "
            "`git lfs pull`, or download it again."
        )
    if is_backup(path):
        raise BackupFoundError(path)
    if _is_packed_data(path, options):
        return _open_packed(path, options)
    if path.is_dir() and options.format in (None, "table") and options.dataset is None:
        table = find_table_in(path, options)
        if table is not None:
            return _open_found(table, path, options)
    found = options.format or find_format(path, options)
    check_have_effect(find_table_form(path) if found == "table" else found, options)
    source = _OPENERS[found](_behind_wrappings(path, found), options)
    check_used(source, options)
    return source


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
        from tracin_core.sources.table import TableSource

        reader = _open_parts(table) if table.parts else table.reader
        reader = reader or open_reader(table.path, options)
        reader.folder = table.root
        check_have_effect(find_table_form(table.path), options)
        source = TableSource(reader, options)
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
    from tracin_core.sources.split_tables import SplitTablesReader

    root = table.root or table.path.parent
    readers = {
        (one.root or one.path.parent).relative_to(root).as_posix(): one.reader
        for one in table.parts
        if one.reader is not None
    }
    are_splits = say_splits([name.split("/")[0] for name in readers])
    return SplitTablesReader(readers, root, table.image or "", are_splits=are_splits)


def _behind_wrappings(path: Path, format: str) -> Path:
    """Return the folder of a data set, where others are around it."""
    found = _find_dataset(path) if path.is_dir() else None
    return found[1] if found is not None and found[0] == format else path


def find_format(path: Path, options: ImportOptions) -> str:
    """Return one of ``FORMATS``.

    Raises:
        InputError: If the path is of none of them.
    """
    if options.dataset is not None:
        return "torchvision"
    if path.is_dir():
        return _format_of_folder(path)
    suffix = _suffix(path)
    if suffix in _TABLES or (suffix == ".json" and _is_json(path)):
        return "table"
    if suffix in _INSTEAD:
        raise _unknown(path, suffix)
    if _starts_with(path, b"PAR1"):
        from tracin_core.sources.columnar import is_huggingface

        return "huggingface" if is_huggingface(path) else "table"
    if is_zip(path):
        return "npz" if _holds_arrays(path) else _format_of_files(path)
    if is_tar(path):
        return _format_of_files(path)
    raise _unknown(path, suffix)


def _is_packed_data(path: Path, options: ImportOptions) -> bool:
    """Tell whether a file is an archive of a table or a saved data set."""
    if path.is_dir() or options.format not in (None, "table", "huggingface", "torchvision"):
        return False
    if _suffix(path) in (*_TABLES, *_INSTEAD) or _starts_with(path, b"PAR1"):
        return False
    is_archive = not _holds_arrays(path) if is_zip(path) else is_tar(path)
    return is_archive and (options.format is not None or needs_unpacking(path))


def _open_packed(path: Path, options: ImportOptions) -> Source:
    """Open what an archive holds, unpacked for as long as the source is used."""
    folder, hold = make_unpacking_folder()
    try:
        with disk_errors_explained(folder):
            found = unpack_archive(path, folder / path.name)
        # As the folder would be: what is around the data tells how names in it are meant.
        source = open_source(folder / path.name, options)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(source, _let_go, folder, hold)
    what = f" holds the table {found.name}, and" if found.is_file() else ""
    other = " --format image-folder says otherwise." if source.format == "table" else ""
    source.notes = (
        f"The archive{what} is unpacked for the import.{other}",
        *source.notes,
    )
    return source


def _let_go(folder: Path, hold: FolderHold) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    hold.release()


def _format_of_folder(path: Path) -> str:
    found = _find_dataset(path)
    return _format_of_files(path) if found is None else found[0]


def _find_dataset(path: Path) -> tuple[str, Path] | None:
    """Return the format and the folder of a data set in its own form, also behind wrappings."""
    from tracin_core.sources.huggingface import is_saved_dataset
    from tracin_core.sources.torchvision_sets import find_dataset

    for folder in list_wrappings(path):
        if is_saved_dataset(folder) and not _lies_beside_folders(folder):
            return "huggingface", folder
        if find_dataset(folder):
            return "torchvision", folder
    return None


def _lies_beside_folders(folder: Path) -> bool:
    """Tell whether Parquet files are only beside folders, which may be the data."""
    folders, files = list_folder(folder)
    is_table = any(name.endswith(".parquet") for name in files)
    return is_table and len(folders) > 1 and not any(name in SAVED for name in files)


def _format_of_files(path: Path) -> str:
    from tracin_core.sources.text_folder import holds_texts

    return "text-folder" if holds_texts(path) else "image-folder"


def find_table_form(path: Path) -> str:
    """Return how a table's file is written: "parquet", "json-lines" or "delimited".

    Raises:
        InputError: If it is a folder, or cannot be read.
    """
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, expected a table: one .csv, .tsv, .parquet or .jsonl file. Name "
            "the file in it."
        )
    if _starts_with(path, b"PAR1"):
        return "parquet"
    is_json = _suffix(path) in (".json", *_JSON_LINES) or _starts_with(path, b"{")
    return "json-lines" if is_json else "delimited"


def open_reader(path: Path, options: ImportOptions) -> RowReader:
    """Open a table's file to read its rows.

    Raises:
        InputError: If it is no table that can be read.
    """
    from tracin_core.sources.columnar import ColumnarReader
    from tracin_core.sources.delimited import DelimitedReader
    from tracin_core.sources.json_lines import JsonLinesReader

    form = find_table_form(path)
    if form == "parquet":
        return ColumnarReader({"": [path]}, path.parent, kind="parquet")
    return (JsonLinesReader if form == "json-lines" else DelimitedReader)(path, options)


def _open_table(path: Path, options: ImportOptions) -> Source:
    from tracin_core.sources.table import TableSource

    reader = open_reader(path, options)
    table = find_pictures_of(path, reader, options)
    if table is not None:
        return _open_found(table, path.parent, options)
    return TableSource(reader, options)


def _open_images(path: Path, options: ImportOptions) -> Source:
    from tracin_core.sources.image_folder import ImageFolderSource

    return ImageFolderSource(path, options)


def _open_texts(path: Path, options: ImportOptions) -> Source:
    from tracin_core.sources.text_folder import TextFolderSource

    return TextFolderSource(path, options)


def _open_huggingface(path: Path, options: ImportOptions) -> Source:
    from tracin_core.sources.huggingface import open_dataset

    return open_dataset(path, options)


def _open_torchvision(path: Path, options: ImportOptions) -> Source:
    from tracin_core.sources.torchvision_sets import TorchvisionSource

    return TorchvisionSource(path, options)


def _open_npz(path: Path, options: ImportOptions) -> Source:
    from tracin_core.sources.numpy_arrays import ArraySource

    return ArraySource(path, options)


_OPENERS: dict[str, Callable[[Path, ImportOptions], Source]] = {
    "image-folder": _open_images,
    "text-folder": _open_texts,
    "table": _open_table,
    "huggingface": _open_huggingface,
    "torchvision": _open_torchvision,
    "npz": _open_npz,
}


def _suffix(path: Path) -> str:
    """Return the ending that names the format: ".csv" of data.csv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _starts_with(path: Path, start: bytes) -> bool:
    try:
        with open_bytes(path) as file:
            return file.read(512).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(start)
    except InputError:
        return False
    except OSError as error:
        raise unreadable(path, error) from error


def _is_json(path: Path) -> bool:
    """Tell whether a file called like JSON holds objects, an array, or text in UTF-16."""
    return any(_starts_with(path, start) for start in (b"{", b"[", b"\xff\xfe", b"\xfe\xff"))


def _holds_arrays(path: Path) -> bool:
    if _suffix(path) == ".npz":
        return True
    try:
        with open_zip(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError):
        return False  # whoever opens it says what is wrong


def _unknown(path: Path, suffix: str) -> InputError:
    instead = _INSTEAD.get(suffix, "If it is one of them under another name, say so with --format.")
    return InputError(
        f"{path} is of no kind that can be imported. Expected {FORMAT_LIST}. {instead}"
    )
