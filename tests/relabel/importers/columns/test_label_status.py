"""Columns that say whether a row's label holds."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from tests.relabel.importers.builders import preview, read
from tracin_core.errors import ConfigurationError, InputError

TEXTS = [f"the text of number {n} is this one" for n in range(60)]
LABELS = [("bad", "good")[n % 2] for n in range(60)]
STATUS = "left out by its status"


def save(tmp_path, ending="csv", **columns):
    path = tmp_path / f"data.{ending}"
    data = pd.DataFrame({"text": TEXTS, "label": LABELS} | columns)
    if ending == "csv":
        data.to_csv(path, index=False)
    elif ending == "parquet":
        data.to_parquet(path)
    else:
        data.to_json(path, orient="records", lines=True)
    return path


def in_turn(*values):
    return [values[n % len(values)] for n in range(60)]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize(
    ("name", "values", "taken"),
    [
        ("answer", ("accept", "reject", "ignore"), 20),
        ("status", ("approved", "rejected", "pending"), 40),
        ("Review Status", ("submitted", "discarded", "draft"), 40),
        ("is_valid", (True, False, True), 40),
        ("was_cancelled", (False, False, True), 40),
        ("rejected", (0, 1, 0), 40),
        ("flagged", ("yes", "no", "no"), 40),
        ("approved", ("Yes", "No", "Yes"), 40),
        ("excluded", (False, False, True), 40),
    ],
)
def test_rows_whose_label_does_not_hold_are_left_out_and_told(
    tmp_path, ending, name, values, taken
):
    found = preview(save(tmp_path, ending, **{name: in_turn(*values)}))
    assert found.num_usable == taken
    assert found.problem_counts == {STATUS: 60 - taken}
    told = next(note for note in found.notes if note.startswith("Status: "))
    assert f"column {name!r}" in told
    assert f"left out: {60 - taken} of 60 rows" in told


def test_a_way_to_take_all_rows_is_told_and_works(tmp_path):
    path = save(tmp_path, answer=in_turn("accept", "reject", "ignore"))
    told = next(note for note in preview(path).notes if note.startswith("Status: "))
    assert told.endswith("--status-values accept,ignore,reject")
    found = preview(path, status_values=("accept", "ignore", "reject"))
    assert (found.num_usable, found.problem_counts) == (60, {})
    assert preview(path, status_values=("reject", "accept")).num_usable == 40


def test_the_numbers_are_of_all_rows_however_the_file_is_sorted(tmp_path, monkeypatch):
    monkeypatch.setattr("relabel.importers.readers.table.profile_table.__defaults__", (10,))
    path = save(tmp_path, answer=["accept"] * 45 + ["reject"] * 15)
    found = preview(path)
    assert found.num_usable == 45
    assert any("'reject' (15)" in note for note in found.notes)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("state", ("open", "closed", "merged")),
        ("answer", ("yes it is", "no it is not", "maybe")),
        ("status", ("approved", "approved", "approved")),
        ("valid", (0, 1, 2)),
        ("colour", ("rejected", "accepted", "ok")),
    ],
)
def test_columns_that_say_something_else_leave_nothing_out(tmp_path, name, values):
    found = preview(save(tmp_path, **{name: in_turn(*values)}))
    assert (found.num_usable, found.problem_counts) == (60, {})
    assert not any("label holds" in note for note in found.notes)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("verified", ("yes", "no", "no")),
        ("is_label_issue", (True, False, False)),
        ("status", ("ok", "rejected", "somewhere")),
        ("review_status", ("submitted", "draft", "pending")),
    ],
)
def test_what_is_not_sure_is_told_and_everything_taken(tmp_path, name, values):
    found = preview(save(tmp_path, **{name: in_turn(*values)}))
    assert found.num_usable == 60
    told = next(note for note in found.notes if "may say whether a row's label holds" in note)
    assert repr(name) in told
    assert "(20)" in told
    assert f"--status {name}" in told


def test_beside_measures_such_a_column_stays_an_input_and_is_told(tmp_path):
    path = tmp_path / "data.csv"
    sizes = [n * 7 % 60 / 3 for n in range(60)]
    pd.DataFrame({"size": sizes, "approved": in_turn(0, 1, 1), "label": LABELS}).to_csv(
        path, index=False
    )
    found = preview(path)
    assert found.options.features == ("size", "approved")
    assert found.num_usable == 60
    assert any("'approved' may say" in n and "--status approved" in n for n in found.notes)
    said = preview(path, status="approved")
    assert (said.options.features, said.num_usable) == (("size",), 40)


def test_an_empty_status_does_not_speak_against_a_row(tmp_path):
    found = preview(save(tmp_path, status=in_turn("ok", "rejected", "-")))
    assert any("empty (20)" in note for note in found.notes)
    found = preview(save(tmp_path, status=in_turn("ok", "rejected", None)))
    assert found.num_usable == 40
    assert any("empty (20)" in note for note in found.notes)


def test_a_status_named_by_hand_needs_values_that_can_be_told(tmp_path):
    path = save(tmp_path, mark=in_turn("a", "b", "c"))
    with pytest.raises(InputError, match=r"'a' \(20\), 'b' \(20\).*--status-values"):
        preview(path, status="mark")
    assert preview(path, status="mark", status_values=("a", "c")).num_usable == 40
    with pytest.raises(InputError, match="No row has a status that holds"):
        preview(path, status="mark", status_values=("d",))
    with pytest.raises(InputError, match="no column says whether"):
        preview(path, status_values=("a",))
    with pytest.raises(ConfigurationError, match="'text' was named as the status"):
        preview(path, text="text", status="text")


def test_one_label_that_was_accepted_or_rejected_becomes_a_label_as_told(tmp_path):
    path = save(tmp_path, label=["POS"] * 60, answer=in_turn("accept", "reject", "ignore"))
    with pytest.raises(InputError, match=r"--label answer.*--classes accept,reject"):
        preview(path)
    found = preview(path, label="answer", classes=("accept", "reject"))
    assert found.class_counts == {"accept": 20, "reject": 20}


def test_a_choice_of_an_annotation_tool_is_the_label(tmp_path):
    path = tmp_path / "data.jsonl"
    rows = [
        {
            "text": text,
            "options": [{"id": "bad", "text": "bad"}, {"id": "good", "text": "good"}],
            "accept": [] if n % 6 == 0 else [label],
            "config": {"choice_style": "single"},
            "answer": "ignore" if n % 6 == 0 else "accept",
        }
        for n, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = preview(path)
    assert (found.options.text, found.options.label) == ("text", "accept")
    assert found.class_counts == {"bad": 20, "good": 30}
    assert found.problem_counts == {STATUS: 10}


def test_several_choices_are_left_out_one_by_one_as_told(tmp_path):
    path = tmp_path / "data.jsonl"
    rows = [
        {"text": text, "accept": [label, "other"] if n % 3 == 0 else [label]}
        for n, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = preview(path, label="accept")
    assert found.problem_counts == {"several labels": 20}
    assert "'bad', 'other'" in found.problems[0].message
    assert len(read(path, label="accept")) == 40


@pytest.mark.parametrize(
    ("name", "values", "refused"),
    [
        ("meta_status", ("accepted", "rejected", "accepted"), "'rejected' (20)"),
        ("final decision", ("accept", "reject", "accept"), "'reject' (20)"),
        ("workflow_state", ("approved", "rejected", "pending"), "'rejected' (20)"),
        ("qa_result", ("pass", "fail", "pass"), "'fail' (20)"),
        ("to_delete", ("", "x", ""), "'x' (20)"),
        ("label is ok", ("yes", "no", "yes"), "'no' (20)"),
    ],
)
def test_a_status_by_another_name_is_told_and_followed_only_when_it_is_named(
    tmp_path, name, values, refused
):
    path = save(tmp_path, **{name: in_turn(*values)})
    found = preview(path)
    assert (found.num_usable, found.problem_counts) == (60, {})
    told = next(note for note in found.notes if "label holds" in note)
    assert told.startswith(f"Column {name!r} may say")
    assert refused in told
    (number,) = re.findall(r"\d+", refused)
    assert preview(path, status=name).num_usable == 60 - int(number)


def test_few_valid_rows_may_be_those_for_validation(tmp_path):
    path = save(tmp_path, is_valid=[n >= 48 for n in range(60)])
    found = preview(path)
    assert (found.num_usable, found.problem_counts) == (60, {})
    told = next(note for note in found.notes if "'is_valid'" in note)
    assert "--split is_valid --train-values False --test-values True" in told
    split = preview(path, split="is_valid", train_values=("False",), test_values=("True",))
    assert split.counts == {"train": 48, "test": 12}


def test_measures_are_not_told_to_be_a_status_by_another_name(tmp_path):
    path = tmp_path / "loans.csv"
    columns = {"income": range(60), "debt": [n * n for n in range(60)]}
    columns |= {"application_status": in_turn("approved", "rejected", "approved")}
    pd.DataFrame({**columns, "label": LABELS}).to_csv(path, index=False)
    assert not any("label holds" in note for note in preview(path).notes)
