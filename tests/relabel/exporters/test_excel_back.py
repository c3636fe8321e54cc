"""What was imported from a workbook of Excel is exported with the rows it came from."""

from __future__ import annotations

import csv
import io

import pytest

from tracin_core.errors import ConfigurationError

openpyxl = pytest.importorskip("openpyxl")


def test_its_rows_are_named_and_the_workbook_itself_is_not_written(imported, tmp_path):
    book = openpyxl.Workbook()
    for row in [("text", "label"), *((f"review {n} of it", "ab"[n % 2]) for n in range(6))]:
        book.active.append(row)
    book.save(tmp_path / "book.xlsx")
    imported.bring(tmp_path / "book.xlsx")
    imported.relabel("review 3 of it", "a")
    rows = csv.DictReader(io.StringIO(imported.export("csv").decode("utf-8-sig")))
    found = {row["text"]: (row["label"], row["source_place"]) for row in rows}
    assert found["review 3 of it"] == ("a", "book.xlsx, row 5")
    with pytest.raises(ConfigurationError, match="no table that can be given back"):
        imported.export()
