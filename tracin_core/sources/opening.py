"""Open data of any kind that can be imported: by its name, its folder or its first bytes."""

from __future__ import annotations

import shutil
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path

from tracin_core.errors import InputError
from tracin_core.files import check_ordinary, disk_errors_explained, expand_path
from tracin_core.holding import FolderHold, make_unpacking_folder
from tracin_core.sources.archive_bounds import is_tar, open_zip
from tracin_core.sources.backups import BackupFoundError, is_backup
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.records import Source
from tracin_core.sources.rows import RowReader
from tracin_core.sources.text_encoding import open_bytes, unreadable
from tracin_core.sources.trees import is_zip
from tracin_core.sources.unpacking import holds_data, unpack_archive

_JSON_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv", ".txt", ".tab", ".psv", *_JSON_LINES)
_POINTER = b"version https://git-lfs"
# What is no data, or none that can be read here; some of these are zip archives inside.
_INSTEAD = {
    ".json": "Save it as JSON lines, one object a line, named .jsonl. With pandas: "
    'pd.read_json(path).to_json("data.jsonl", orient="records", lines=True).',
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), "Save the sheet as CSV."),
    ".npy": "Save inputs and labels together: np.savez(path, x=x, y=y).",
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


class NamesKnownError(InputError):
    """Names were given for the columns of data that has them already, or has no columns."""


def open_source(path: Path, options: ImportOptions) -> Source:
    """Open data and find out what the person did not say.

    Args:
        path: A file or folder.
        options: What the person says.

    Raises:
        InputError: If the path does not exist, is of no format that is known, or is not what
            the options say.
        NamesKnownError: If names of columns are given for data that has names.
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
    found = options.format or find_format(path, options)
    if options.columns is not None and (found != "table" or find_table_form(path) != "delimited"):
        raise NamesKnownError(
            f"{path} has no columns without names. Names can be given for those of a text file "
            "(CSV, TSV) whose first line is data. Leave out what was given with --columns."
        )
    return _OPENERS[found](path, options)


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
    if suffix in _TABLES or (suffix == ".json" and _starts_with(path, b"{")):
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
    if path.is_dir() or options.format not in (None, "table", "huggingface"):
        return False
    if options.dataset or _suffix(path) in (*_TABLES, *_INSTEAD) or _starts_with(path, b"PAR1"):
        return False
    is_archive = not _holds_arrays(path) if is_zip(path) else is_tar(path)
    return is_archive and (options.format is not None or holds_data(path))


def _open_packed(path: Path, options: ImportOptions) -> Source:
    """Open what an archive holds, unpacked for as long as the source is used."""
    folder, hold = make_unpacking_folder()
    try:
        with disk_errors_explained(folder):
            found = unpack_archive(path, folder / path.name)
        source = open_source(found, options)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(source, _let_go, folder, hold)
    what = f"the table {found.name}" if found.is_file() else "a saved data set"
    source.notes = (
        f"The archive holds {what}, and is unpacked for the import. --format image-folder says "
        "otherwise.",
        *source.notes,
    )
    return source


def _let_go(folder: Path, hold: FolderHold) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    hold.release()


def _format_of_folder(path: Path) -> str:
    from tracin_core.sources.huggingface import is_saved_dataset
    from tracin_core.sources.torchvision_sets import find_dataset

    if is_saved_dataset(path):
        return "huggingface"
    return "torchvision" if find_dataset(path) else _format_of_files(path)


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
    is_json = _suffix(path) in _JSON_LINES or _starts_with(path, b"{")
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

    return TableSource(open_reader(path, options), options)


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
