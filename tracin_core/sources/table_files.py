"""The file of a table: how it is written, and the reader of its rows."""

from __future__ import annotations

from pathlib import Path

from tracin_core.errors import InputError
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.rows import RowReader
from tracin_core.sources.text_encoding import open_bytes, unreadable

_JSON = (".json", ".jsonl", ".ndjson")


def ending_of(path: Path) -> str:
    """Return the ending that names the format: ".csv" of data.csv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def starts_with(path: Path, start: bytes) -> bool:
    """Return whether a file, unpacked from gzip, starts so, blanks and marks aside.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with open_bytes(path) as file:
            return file.read(512).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(start)
    except InputError:
        return False
    except OSError as error:
        raise unreadable(path, error) from error


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, whatever it is called."""
    return starts_with(path, b"PAR1")


def is_json(path: Path) -> bool:
    """Return whether a file called like JSON holds objects, an array, or text in UTF-16."""
    return any(starts_with(path, start) for start in (b"{", b"[", b"\xff\xfe", b"\xfe\xff"))


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
    if is_parquet(path):
        return "parquet"
    return "json-lines" if ending_of(path) in _JSON or starts_with(path, b"{") else "delimited"


def open_table_rows(path: Path, options: ImportOptions) -> RowReader:
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
