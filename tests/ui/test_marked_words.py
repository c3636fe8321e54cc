"""Words that carry an influence: which are marked, how strongly, and where an excerpt begins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relabel.features.ngrams import NgramEncoder
from relabel.triage.words import WordMark
from ui.inspect.words import WordMarks, cut_excerpt, grade_pieces

TEXTS = ["a wet grey day", "a wet road", "a bright day", "grey <b>clouds</b>", "grey clouds again"]
ENCODER = NgramEncoder.fit(TEXTS, num_outputs=2)


def test_words_of_both_texts_are_marked_and_the_text_stays_as_it_is():
    marks = WordMarks(ENCODER, "Such a WET, grey <b>day</b>!")
    pieces = marks.mark("a wet grey day", -0.5, 280)
    assert "".join(words for words, _ in pieces) == "a wet grey day"
    assert {words for words, grade in pieces if grade} >= {"wet", "grey", "day"}
    own = marks.pieces()
    assert "".join(words for words, _ in own) == "Such a WET, grey <b>day</b>!"
    marked = {words for words, grade in own if grade}
    assert marked >= {"WET", "grey", "day"}
    assert "Such" not in marked


def test_a_pair_keeps_the_names_of_its_columns_where_words_are_marked():
    fields = {"premise": "a wet road", "note": None, "claim": "grey day "}
    marks = WordMarks(ENCODER, "a wet road\n\ngrey day")
    neighbour = {"premise": "a bright day", "claim": "a wet road"}
    near = marks.mark("a bright day\n\na wet road", 1.0, 280, neighbour)
    assert "".join(words for words, _ in near) == "premise: a bright day\n\nclaim: a wet road"
    own = marks.pieces(fields)
    assert "".join(words for words, _ in own) == "premise: a wet road\n\nclaim: grey day"
    assert {words for words, grade in own if grade} >= {"wet", "day"}
    # What the text was not joined of leaves it as it is.
    assert (
        "".join(words for words, _ in marks.pieces({"other": "none"})) == "a wet road\n\ngrey day"
    )


def test_texts_without_a_common_word_mark_nothing():
    marks = WordMarks(ENCODER, "clouds")
    assert marks.mark("a wet road", 1.0, 280) == (("a wet road", 0),)
    assert marks.pieces() == (("clouds", 0),)
    assert marks.mark("", 1.0, 280) == ()


def test_what_carries_most_is_marked_twice_and_a_trifle_not_at_all():
    marks = [WordMark(0, 3, 1.0), WordMark(4, 7, 0.4), WordMark(8, 11, 0.05)]
    assert grade_pieces("one two six", marks) == (("one", 2), (" ", 0), ("two", 1), (" six", 0))


@given(
    text=st.text(alphabet="ab .", max_size=300),
    starts=st.lists(st.integers(0, 290), max_size=4, unique=True),
    length=st.integers(1, 200),
)
def test_an_excerpt_is_a_part_of_the_text_and_has_a_mark_where_there_is_one(text, starts, length):
    places = [start for start in sorted(starts) if start < len(text)]
    marks = [WordMark(start, start + 1, 1.0) for start in places]
    pieces = cut_excerpt(text, marks, length)
    shown = "".join(words for words, _ in pieces).strip("…")
    assert shown in text
    assert len(shown) <= length
    if places and length > 70:
        assert any(grade for _, grade in pieces)
