"""Texts and durations as the terminal and the screens show them."""

from __future__ import annotations

import pytest

from relabel.text import excerpt, format_seconds, printable, shorten


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((0, "0.0 s"), (4.24, "4.2 s"), (9.94, "9.9 s"), (9.96, "10 s"), (45.4, "45 s")),
        *(
            (89, "89 s"),
            (90, "2 min"),
            (720, "12 min"),
            (5399, "1 h 30 min"),
            (11100, "3 h 05 min"),
        ),
    ],
)
def test_a_duration_is_said_as_people_say_it(seconds, said):
    assert format_seconds(seconds) == said


def test_a_text_is_cut_to_one_line_of_a_length():
    assert shorten("a\n b\tc", 5) == "a b c"
    assert shorten("word " * 30, 11) == "word word…"
    assert shorten("word " * 30, 11, "...") == "word wor..."
    assert excerpt("\x1b[31m" + "long " * 99, 12) == "?[31mlong..."


def test_an_errors_text_keeps_its_lines_and_steers_nothing():
    assert printable("a\n\tb\x1b[2J\u202ec") == "a\n\tb\\x1b[2J\\u202ec"
