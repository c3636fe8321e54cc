"""Workbooks of Excel: which sheet, which rows, and what its cells say."""

from __future__ import annotations

import re
import zipfile
from datetime import datetime

import pytest

from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions, OptionWithoutEffectError
from relabel.importers.readers import excel
from relabel.importers.readers.excel import ExcelReader
from tests.relabel.importers.builders import make_zip, preview, problems, read, texts
from tracin_core.errors import InputError

openpyxl = pytest.importorskip("openpyxl")
ROWS = [(f"review number {n} says this", ("bad", "good")[n % 2], n) for n in range(12)]


def write_book(path, rows=ROWS, head=("text", "label", "stars"), before=(), sheets=()):
    """Make a workbook; the sheets before and after are named with their rows."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Data"
    for row in (*before, head, *rows):
        sheet.append(row)
    for place, (name, cells) in enumerate(sheets):
        other = book.create_sheet(name, place)
        for row in cells:
            other.append(row)
    book.save(path)
    return path


def rewrite(path, name, change):
    """Change a file inside of a workbook."""
    with zipfile.ZipFile(path) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    members[name] = change(members[name])
    make_zip(path, members)


def test_a_sheet_is_a_table(tmp_path):
    path = write_book(tmp_path / "book.xlsx")
    found = preview(path)
    assert (found.format, found.kind, found.target) == ("excel", "text", "label")
    assert found.class_counts == {"bad": 6, "good": 6}
    path.rename(tmp_path / "book.data")
    assert preview(tmp_path / "book.data").format == "excel"


def test_the_first_sheet_with_something_in_it_is_read_and_others_are_named(tmp_path):
    path = write_book(tmp_path / "book.xlsx", sheets=[("Empty", []), ("Notes", [("a", "b")])])
    book = openpyxl.load_workbook(path)
    book["Notes"].sheet_state = "hidden"
    book.save(path)
    note = "The sheet 'Data' is read, and not: 'Empty', 'Notes'. --sheet says otherwise."
    assert note in preview(path).notes
    assert preview(path, sheet="Data").class_counts == {"bad": 6, "good": 6}
    with pytest.raises(InputError, match=r"no sheet called 'Dat'.*'Empty', 'Notes', 'Data'"):
        preview(path, sheet="Dat")
    with pytest.raises(InputError, match=r"'Empty' of .* is empty"):
        preview(path, sheet="Empty")
    with pytest.raises(OptionWithoutEffectError, match="Only a workbook of Excel has sheets"):
        open_source(texts(tmp_path / "a.csv"), ImportOptions(sheet="Data"))


def test_a_sheet_of_notes_before_the_table_is_passed_over(tmp_path):
    notes = [("About",), ("made by hand",), ("read me",)]
    path = write_book(tmp_path / "book.xlsx", sheets=[("About", notes)])
    found = preview(path)
    assert found.class_counts == {"bad": 6, "good": 6}
    assert "The sheet 'Data' is read, and not: 'About'. --sheet says otherwise." in found.notes
    with pytest.raises(InputError, match=r"sheet 'About' of .* has 1 column.* with --sheet"):
        open_source(path, ImportOptions(sheet="About"))


def test_rows_keep_the_numbers_that_the_program_shows(tmp_path):
    rows = [*ROWS[:2], (), ("", "good", 1), ("  ", None, None), ("a good one", None, 2), *ROWS[2:]]
    path = write_book(tmp_path / "book.xlsx", rows, before=[("Reviews of 2024",), ()])
    found = [(one.where, one.what) for one in problems(path)]
    assert found == [("row 7", "empty text"), ("row 9", "no label")]
    assert len(read(path)) == 12
    note = "Row 3 has the columns' names; what stands above is left out."
    assert note in preview(path).notes


def test_dates_numbers_and_missing_values_are_what_they_are(tmp_path):
    head = ("when", "size", "share", "kind")
    rows = [(datetime(2024, 5, n), n, n / 4, n % 2 == 0) for n in range(1, 13)]
    rows[3] = (datetime(2024, 5, 4, 7, 30), "#N/A", 0.5, True)
    path = write_book(tmp_path / "book.xlsx", rows, head)
    found = [one.values for one in ExcelReader(path, ImportOptions()).read_rows(head)]
    assert found[0] == [datetime(2024, 5, 1), 1, 0.25, False]
    assert found[3] == [datetime(2024, 5, 4, 7, 30), None, 0.5, True]


def test_formulas_count_as_they_were_saved(tmp_path):
    rows = [*ROWS[:4], ("=A2", "good", 1), ("a text of its own", "=B2", 2), *ROWS[4:]]
    path = write_book(tmp_path / "book.xlsx", rows)
    assert [(one.where, one.what) for one in problems(path)] == [
        ("row 6", "a formula without a value"),
        ("row 7", "a formula without a value"),
    ]
    computed = rb"<f>A2</f><v>what was computed</v>"
    failed = rb't="e"><f>B2</f><v>#REF!</v>'
    change = re.compile(rb"<f>A2</f><v ?/?>(</v>)?").sub
    rewrite(path, "xl/worksheets/sheet1.xml", lambda xml: change(computed, xml))
    wrong = re.compile(rb"><f>B2</f><v ?/?>(</v>)?").sub
    rewrite(path, "xl/worksheets/sheet1.xml", lambda xml: wrong(b" " + failed, xml))
    rewrite(
        path,
        "xl/worksheets/sheet1.xml",
        lambda xml: xml.replace(b'<c r="A6">', b'<c r="A6" t="str">'),
    )
    assert [(one.where, one.what) for one in problems(path)] == [("row 7", "an error of a formula")]
    assert "what was computed" in [one.text for one in read(path)]


def test_a_merged_label_counts_in_each_of_its_rows(tmp_path):
    rows = [(text, ("bad", "good")[n // 6] if n % 6 == 0 else None) for n, (text, *_) in
            enumerate(ROWS)]  # fmt: skip
    path = write_book(tmp_path / "book.xlsx", rows, ("text", "label"))
    assert len(problems(path)) == 10
    book = openpyxl.load_workbook(path)
    for cells in ("B2:B7", "B8:B13"):
        book.active.merge_cells(cells)
    book.save(path)
    assert problems(path) == []
    assert preview(path).class_counts == {"bad": 6, "good": 6}
    assert any(note.startswith("2 groups of merged cells") for note in preview(path).notes)


def test_a_sheet_without_names_is_told_and_can_be_given_some(tmp_path):
    path = write_book(tmp_path / "book.xlsx", ROWS[1:], ROWS[0])
    with pytest.raises(InputError, match="--columns"):
        preview(path)
    assert sum(preview(path, columns=("text", "label", "n")).class_counts.values()) == 12


def test_a_workbook_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    path = write_book(tmp_path / "book.xlsx")
    whole = path.read_bytes()
    bad = {
        "cut.xlsx": (whole[:-300], "cannot be read"),
        "text.xlsx": (b"text,label\n", "Save the sheet as CSV"),
        "secret.xlsx": (b"\xd0\xcf\x11\xe0" + bytes(100), "has a password"),
    }
    for name, (data, words) in bad.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=words):
            preview(tmp_path / name)
    rewrite(path, "xl/worksheets/sheet1.xml", lambda xml: xml[:200])
    with pytest.raises(InputError, match="cannot be read"):
        preview(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("xl/workbook.xml", "[Content_Types].xml"):
            archive.writestr(name, b"many different bytes of it " * 20)
    path.write_bytes(path.read_bytes().replace(b"\xcbM", b"\x07\xff"))
    with pytest.raises(InputError, match="cannot be read"):
        preview(path)
    monkeypatch.setattr(excel, "_SMALL", 2000)
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b" " * 1_000_000)
    with pytest.raises(InputError, match="made to fill the memory"):
        preview(tmp_path / "bomb.xlsx")


def test_without_the_library_the_way_to_it_is_said(tmp_path, monkeypatch):
    path = write_book(tmp_path / "book.xlsx")
    monkeypatch.setattr(excel, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'tracin-relabel\[excel\]'"):
        preview(path)


def test_a_row_far_beyond_any_sheet_ends_it(tmp_path, monkeypatch):
    path = write_book(tmp_path / "book.xlsx")
    rewrite(
        path,
        "xl/worksheets/sheet1.xml",
        lambda xml: xml.replace(b'<row r="13"', b'<row r="4000000000"'),
    )
    monkeypatch.setattr(excel, "_MAX_ROWS", 500)
    rows = list(ExcelReader(path, ImportOptions()).read_rows(("text",)))
    assert [row.number for row in rows] == list(range(2, 13))
