"""Numbers as people type them, and as the screen shows them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.text import counted, format_number, format_residual
from ui.fields import card_fields, differ, field_text
from ui.wording import read_number


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("12500", 12500.0),
        ("12,500", 12500.0),
        ("1,234,567.5", 1234567.5),
        ("3,5", 3.5),
        ("−2.5", -2.5),
        (" 1 000 ", 1000.0),
        ("1e-3", 0.001),
    ],
)
def test_a_typed_number_is_read_as_meant(typed, value):
    assert read_number(typed) == value


@pytest.mark.parametrize("typed", ["", "abc", "nan", "inf", "1e999", "--3", "0x10", "1.2.3"])
def test_what_is_no_finite_number_is_refused(typed):
    assert read_number(typed) is None


@given(st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-6))
def test_a_shown_number_reads_back_to_six_digits(value):
    read = read_number(format_number(value))
    assert read is not None
    assert math.isclose(read, value, rel_tol=1e-5)


def test_a_residual_has_a_sign():
    assert format_residual(250_000.0, 210_000.0) == "+40,000"
    assert format_residual(1.0, 3.5) == "−2.5"
    assert format_residual(None, 1.0) == "–"


def test_columns_that_differ_are_marked():
    beside = {"rooms": 5.0, "sea": "near", "age": None}
    fields = card_fields({"rooms": 5.2, "sea": "far", "age": None}, beside, {"rooms": 1.0})
    assert [(field.name, field.differs) for field in fields] == [
        ("rooms", False),
        ("sea", True),
        ("age", False),
    ]
    assert differ(5.0, 5.6, 1.0)
    assert differ(None, "near", 0.0)


def test_a_missing_value_is_a_dash():
    assert field_text(None) == field_text(float("nan")) == "–"
    assert field_text("<b>") == "<b>"


@pytest.mark.parametrize(
    ("number", "nouns", "shown"),
    [
        (1, ("example",), "1 example"),
        (0, ("example",), "0 examples"),
        (2000, ("example",), "2,000 examples"),
        (1, ("class", "classes"), "1 class"),
        (3, ("class", "classes"), "3 classes"),
    ],
)
def test_a_count_agrees_with_its_noun(number, nouns, shown):
    assert counted(number, *nouns) == shown
