"""Data never becomes markup."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ui.plain_text import WORD_JOINER, escape_markdown, escape_plotly, shorten

_SPECIAL = set("\\`*_{}[]()#+-.!|<>~$:&")


@given(st.text(max_size=60))
def test_every_special_character_is_escaped(text: str):
    escaped = escape_markdown(text)
    # Read as markdown does: a backslash takes the next character literally.
    plain = re.sub(r"\\(.)", r"\1", escaped).replace(WORD_JOINER, "")
    assert plain == re.sub(r"\s+", " ", text).replace(WORD_JOINER, "")
    bare = re.sub(r"\\.", "", escaped)
    assert not _SPECIAL & set(bare)


@given(st.text(max_size=60))
def test_plotly_text_has_no_tag(text: str):
    assert "<" not in escape_plotly(text)


@given(st.text(max_size=60), st.integers(2, 30))
def test_shortened_text_fits(text: str, length: int):
    assert len(shorten(text, length)) <= length
