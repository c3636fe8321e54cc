from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.demos.docs import extract_prose, is_readable, normalise

READABLE = {
    "roles and code lose their markup": (
        "Return a :class:`~lib.orm.Session` for the ``name`` of a `table` [1]_ that is *open*.",
        "Return a Session for the name of a table that is open.",
    ),
    "a heading gets its full stop": (
        "Compute the shortest path between two nodes",
        "Compute the shortest path between two nodes.",
    ),
    "a second paragraph of prose is kept": (
        """Fit a line to the given points.

        The line is the one with the least squared distance.

        Parameters
        ----------
        x : array
        """,
        "Fit a line to the given points. The line is the one with the least squared distance.",
    ),
    "a sentence that introduces a list is dropped": (
        "Open the file for reading or for writing. The modes are one of the following:",
        "Open the file for reading or for writing.",
    ),
    "a link keeps its title": (
        "Implements the `quick sort <https://example.org/sort>`_ of all elements in place.",
        "Implements the quick sort of all elements in place.",
    ),
    "pointers to elsewhere are dropped": (
        "Generate a swiss roll dataset of so many points. Read more in the User Guide.",
        "Generate a swiss roll dataset of so many points.",
    ),
}


@pytest.mark.parametrize(("source", "expected"), READABLE.values(), ids=READABLE.keys())
def test_readable_prose(source, expected):
    assert extract_prose(source) == expected


UNREADABLE = {
    "too short": "Return it.",
    "only parameters": "Parameters\n----------\nx : the first of the two numbers to be added here",
    "a doctest": ">>> add(1, 2) and then some more words that are code\n3",
    "a formula": r"The sum \sum_i x_i of all of the elements in the given array.",
    "deprecated": "Deprecated since version two, use the other function of this module instead.",
    "a list": "- the first of the things to do here\n- the second of the things to do here",
    "a heading that hangs": "Compute the Hankel transform of a function f, which is defined as",
    "mostly numbers": "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22.",
}


@pytest.mark.parametrize("source", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_no_prose_is_refused(source):
    assert extract_prose(source) is None


@given(st.text(max_size=400))
def test_any_docstring_gives_readable_prose_or_nothing(source):
    text = extract_prose(source)
    assert text is None or is_readable(text)


def test_texts_that_differ_in_numbers_and_punctuation_are_the_same():
    assert normalise("Return the first 2 rows!") == normalise("return the FIRST 3 rows.")
