"""Data never becomes markup."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from relabel.text import shorten
from ui.wording import WORD_JOINER, contain_direction, escape_markdown, escape_plotly, isolate

_SPECIAL = set("\\`*_{}[]()#+-.!|<>~$:&")


@given(st.text(max_size=60))
def test_every_special_character_is_escaped(text: str):
    escaped = escape_markdown(text)
    # Read as markdown does: a backslash takes the next character literally.
    plain = re.sub(r"\\(.)", r"\1", escaped).replace(WORD_JOINER, "")
    assert plain == contain_direction(re.sub(r"\s+", " ", text).replace(WORD_JOINER, ""))
    bare = re.sub(r"\\.", "", escaped)
    assert not _SPECIAL & set(bare)


@given(st.text(max_size=60))
def test_plotly_text_has_no_tag(text: str):
    assert "<" not in escape_plotly(text)


@given(st.text(max_size=60), st.integers(2, 30))
def test_shortened_text_fits(text: str, length: int):
    assert len(shorten(text, length)) <= length


_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069ab"


def depth_below(text: str) -> tuple[int, int]:
    """Return how far closers go below the beginning, and what is open at the end."""
    lowest = depth = 0
    for character in text:
        depth += (character in "\u2066\u2067\u2068") - (character == "\u2069")
        lowest = min(lowest, depth)
    return lowest, depth


@given(st.text(_TURNS, max_size=20))
def test_a_turn_of_the_writing_direction_ends_with_the_name(name: str):
    contained = contain_direction(name)
    assert depth_below(contained) == (0, 0)
    assert contain_direction(contained) == contained
    assert [c for c in contained if c in "ab"] == [c for c in name if c in "ab"]
    assert depth_below(isolate(name)) == (0, 0)


def test_names_that_turn_what_follows_are_closed_and_right_ones_kept():
    assert contain_direction("cat\u202egod") == "cat\u202egod\u202c"
    assert isolate("a\u2069\u202eb") == "\u2068a\u202eb\u202c\u2069"
    assert contain_direction("\u2067ab\u2069 c") == "\u2067ab\u2069 c"
    assert escape_markdown("x\u202ey") == "x\u202ey\u202c"
