"""Numbers as people and spreadsheets write them."""

from __future__ import annotations

import pytest

from relabel.importers.columns.values import find_locale_numbers, parse_locale_number
from tests.relabel.importers.builders import preview, problems, read


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [
        ("1.234,50 €", ",", "1234.50"),
        ("€ -5,00", ",", "-5.00"),
        ("1 234,5", ",", "1234.5"),
        ("$1,234.50", ".", "1234.50"),
        ("-$5", ".", "-5"),
        ("1'234.50", ".", "1234.50"),
        ("12 %", ".", "12"),
        ("1,234", ".", "1234"),
        ("1,234", ",", "1.234"),
        ("3,5", ".", None),
        ("12-34", ".", None),
        ("12.05.2024", ",", None),
        ("0,123,456", ".", None),
        ("007", ".", "007"),
        ("five", ".", None),
        ("", ".", None),
    ],
)
def test_a_cell_is_read_as_it_is_written(text, decimal, number):
    assert parse_locale_number(text, decimal) == number


@pytest.mark.parametrize(
    ("columns", "delimiter", "found"),
    [
        ([["1,5", "2,25"], ["1.234", "2.345"], ["3", "4"]], ";", {0: ",", 1: ","}),
        ([["1,5", "2,25"], ["1.5", "2.345"]], ";", {0: ","}),
        (
            [["1,234", "2,345"], ["$5", "$6"], ["5%", "7%"], ["1.5", "2"]],
            ",",
            dict.fromkeys(range(3), "."),
        ),
        ([["$5", "€6"], ["red", "blue"], ["", "-"], ["1,2,3", "4"]], ",", {}),
    ],
)
def test_columns_are_found_by_how_all_are_written(columns, delimiter, found):
    assert find_locale_numbers(columns, delimiter) == found


def test_a_table_of_a_german_spreadsheet_has_numbers(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(
        "Breite;Preis;Anteil;label\n"
        + "".join(
            f"{n * 7 % 30},5;{n + 1}.250,00 €;{n * 7 % 30} %;{'xy'[n % 2]}\n" for n in range(30)
        )
    )
    found = preview(path)
    assert {c.name: c.kind for c in found.columns if c.role == "feature"} == {
        "Breite": "number",
        "Preis": "number",
        "Anteil": "number",
    }
    assert read(path)[2].fields == {"Breite": 14.5, "Preis": 3250.0, "Anteil": 14}
    assert sum("are read as they are written" in note for note in found.notes) == 3


def test_a_price_that_is_none_is_reported_by_row(tmp_path):
    path = tmp_path / "data.csv"
    prices = [f'"${n + 1},000.50"' for n in range(30)]
    prices[7] = "on request"
    path.write_text("price,label\n" + "".join(f"{p},{n % 2}\n" for n, p in enumerate(prices)))
    assert [(p.row, p.what) for p in problems(path)] == [(9, "not a number")]


def test_amounts_are_predicted(tmp_path):
    path = tmp_path / "data.csv"
    rows = "".join(f'{n * 7 % 13},"${n + 1},250.50"\n' for n in range(30))
    path.write_text("size,price\n" + rows)
    assert read(path, target="price")[2].value == 3250.5


def test_codes_with_underscores_are_names(tmp_path):
    path = tmp_path / "data.csv"
    rows = "".join(f"{n % 3}_{n % 2},{n / 7},{'xy'[n % 2]}\n" for n in range(30))
    path.write_text("code,size,label\n" + rows)
    kinds = {c.name: c.kind for c in preview(path).columns}
    assert kinds == {"code": "category", "size": "number", "label": "category"}
