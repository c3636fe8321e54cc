"""Columns of texts that are left out, and rows that are the same without them."""

from __future__ import annotations

import pandas as pd
import pytest

from relabel.importers.options import split_names
from tests.relabel.importers.builders import preview
from tracin_core.errors import InputError

LABELS = ["yes", "no", "maybe", "yes", "no"] * 12
PREMISE = [f"A woman walks her small dog along the beach number {n // 3}" for n in range(60)]
CLAIMS = ("It is raining there", "Somebody is outdoors", "Nobody sleeps")
CLAIM = [CLAIMS[n % 3] for n in range(60)]


def save(tmp_path, **columns):
    path = tmp_path / "data.csv"
    pd.DataFrame(columns | {"label": LABELS}).to_csv(path, index=False)
    return path


def find_way_out(notes, name):
    """Return the columns of the proposal that a note makes."""
    note = next(n for n in notes if n.startswith(f"Column {name!r}: left out: a text"))
    return split_names(note.partition("--text ")[2].partition(" takes")[0].strip("'"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("premise", "remarks"),
        ("text_a", "text_c"),
        ("first, or so", "second"),
    ],
)
def test_a_second_text_is_named_with_what_takes_it_in(tmp_path, one, other):
    path = save(tmp_path, **{one: PREMISE, other: CLAIM})
    found = preview(path)
    (taken,) = found.options.text_columns
    left = next(name for name in (one, other) if name != taken)
    assert find_way_out(found.notes, left) == (one, other)
    assert next(c.kind for c in found.columns if c.name == left) == "text"
    both = preview(path, text=(one, other))
    assert (both.num_usable, both.duplicates) == (60, 0)
    assert not any("left out: a text" in note for note in both.notes)


def test_well_known_names_of_a_pair_are_taken_in_its_order_if_both_are_texts(tmp_path):
    path = save(tmp_path, answer=CLAIM, question=PREMISE)
    assert preview(path).options.text == ("question", "answer")
    path = save(
        tmp_path, answer=[("Paris", "Rome", "Oslo")[n % 3] for n in range(60)], text=PREMISE
    )
    assert preview(path).options.text == "text"


def test_two_texts_that_are_called_like_a_pair_are_joined(tmp_path):
    claims = [f"{claim}, and nothing else says number {n}" for n, claim in enumerate(CLAIM)]
    found = preview(save(tmp_path, premise=PREMISE, hypothesis=claims, label=LABELS))
    assert found.options.text == ("premise", "hypothesis")
    told = [f"{text}, for short, and no other than {n}" for n, text in enumerate(PREMISE)]
    found = preview(save(tmp_path, premise=told, hypothesis=claims))
    assert found.options.text == ("premise", "hypothesis")
    assert any("columns premise,hypothesis, joined" in note for note in found.notes)


def test_texts_that_would_be_names_are_told(tmp_path):
    found = preview(save(tmp_path, one=PREMISE, two=[f"{c} on the other side" for c in CLAIM]))
    assert found.options.features == ("one", "two")
    assert any(note.endswith("--text one,two") for note in found.notes)


def test_repeats_for_want_of_a_column_are_said_to_be_so(tmp_path):
    path = save(tmp_path, premise=PREMISE, hypothesis=CLAIM)
    found = preview(path, text="hypothesis")
    assert found.duplicates == 57
    note = next(note for note in found.notes if "repeated only because" in note)
    assert note.startswith("57 of 57 repeated rows are repeated only because column 'premise'")
    assert "--text premise,hypothesis takes it in" in note


def test_where_one_class_is_left_for_want_of_a_column_it_is_said(tmp_path):
    path = tmp_path / "data.csv"
    labels = ["yes", "no", "maybe"] * 20
    claims = [f"{CLAIM[n]}, says number {n % 15}" for n in range(60)]
    pd.DataFrame({"premise": PREMISE, "hypothesis": claims, "label": labels}).to_csv(
        path, index=False
    )
    with pytest.raises(InputError, match=r"of one class, 'yes'.* --text premise,hypothesis takes"):
        preview(path, text="premise")


def test_real_repeats_are_not_explained_away(tmp_path):
    path = save(tmp_path, premise=PREMISE[:30] * 2, hypothesis=CLAIM[:30] * 2)
    found = preview(path, text=("premise", "hypothesis"))
    assert found.duplicates == 30
    assert not any("repeated" in note for note in found.notes)


def test_rows_that_differ_in_other_columns_are_counted(tmp_path):
    names = [("Ann", "Bob")[n // 30] if n % 2 else "Cem" for n in range(60)]
    found = preview(save(tmp_path, text=PREMISE[:30] * 2, writer=names))
    assert found.duplicates == 50
    assert any("'writer' (30)" in note and "with --key" in note for note in found.notes)


def test_titles_and_captions_are_texts_and_addresses_and_hashes_are_not(tmp_path):
    links = [f"https://example.org/article/with/a/long/name/{n}" for n in range(60)]
    hashes = [f"{n:064x}" for n in range(60)]
    titles = [f"Kettle {n}" for n in range(60)]
    path = save(tmp_path, title=titles, body=PREMISE, link=links, sha=hashes)
    found = preview(path)
    assert [c.name for c in found.columns if c.role.startswith("left out: a text")] == ["title"]
    assert find_way_out(found.notes, "title") == ("title", "body")


def test_a_text_beside_pictures_is_named(tmp_path):
    names = [f"{n}.png" for n in range(60)]
    notes = preview_columns(save(tmp_path, file=names, caption=PREMISE))
    assert "Column 'caption': left out: a text; --text caption takes it in place" in notes


def preview_columns(path):
    """Return the notes of a table whose pictures are not there."""
    from relabel.importers.detect import open_source
    from relabel.importers.options import ImportOptions

    return "\n".join(open_source(path, ImportOptions()).notes)
