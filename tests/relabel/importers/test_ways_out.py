"""What messages advise works when it is followed, and changes no value."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from relabel.cli.imports import import_data, read_options
from relabel.importers.detect import open_source
from tests.relabel.importers.builders import preview, read, texts
from tracin_core.errors import InputError

CODES = ("01", "1", "1.10", "007")
TEXTS = [f"the text of number {n} is this one" for n in range(60)]


def follow(note, path):
    """Return the examples of an import as a note or a message says, typed as it stands there."""
    import shlex

    said = re.findall(r"--merge-twins|--[a-z-]+ (?:'[^']*'|[^\s;:]+)", note)
    assert said, note
    words = ["pets", str(path), *shlex.split(said[0])]
    return open_source(
        path, read_options(import_data.make_context("import", words).params)
    ).preview()


@pytest.fixture
def codes():
    return pd.DataFrame({"text": TEXTS, "label": [CODES[n % 4] for n in range(60)]})


def test_lines_made_of_a_frame_as_told_keep_every_value(tmp_path, codes):
    path = tmp_path / "data.jsonl"
    path.write_text("nothing\n")
    with pytest.raises(InputError, match="With pandas") as told:
        preview(path)
    (code,) = re.findall(r"With pandas: (data\.to_json\(.*?\))\.", str(told.value))
    eval(code, {"data": codes, "path": path})  # noqa: S307 - our own message
    assert [record.label for record in read(path, label="label")] == list(codes["label"])


def test_arrays_saved_together_as_told_are_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("x.npy", rng.integers(0, 256, (40, 6, 6), dtype=np.uint8))
    np.save("y.npy", np.array(["01", "1"] * 20))
    with pytest.raises(InputError, match="Save inputs and labels together") as told:
        preview(Path("x.npy"))
    (code,) = re.findall(r"(np\.savez\(.*\))\.", str(told.value))
    exec(code, {"np": np})  # noqa: S102 - our own message
    assert preview(Path("data.npz")).class_counts == {"01": 20, "1": 20}


@pytest.mark.parametrize(
    ("column", "values", "begins"),
    [
        ("answer", ("accept", "reject", "ignore now"), "Column 'answer' may say"),
        ("is_valid", (True, False, True), "Status: "),
        ("a second text", ("It is raining", "He is sleeping now", "She is out"), "Column 'a sec"),
        ("true_label", ("a", "b", "b"), "Column 'true_label' is called like the truth"),
    ],
)
def test_notes_are_followed_as_they_are_typed(tmp_path, column, values, begins):
    path = tmp_path / "data.csv"
    labels = [("a", "b")[n % 2] for n in range(60)]
    cells = [values[n % 3] for n in range(60)]
    pd.DataFrame({"text": TEXTS, "label": labels, column: cells}).to_csv(path, index=False)
    before = preview(path)
    note = next(note for note in before.notes if note.startswith(begins))
    after = follow(note, path)
    assert note not in after.notes
    assert after.class_counts.keys() == before.class_counts.keys()
    role = next(c.role for c in after.columns if c.name == column)
    assert role in ("status", "text", "truth")


def test_merging_as_told_leaves_nothing_to_tell(tmp_path):
    path = texts(tmp_path / "data.csv", extra="one more of them,Good\nand another one,good.\n")
    note = next(note for note in preview(path).notes if "--merge-twins" in note)
    assert follow(note, path).class_counts == {"bad": 20, "good": 22}


def test_an_unusual_delimiter_is_named_as_told(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("text:label\n" + "".join(f"{t}:{'ab'[n % 2]}\n" for n, t in enumerate(TEXTS)))
    with pytest.raises(InputError, match="name it with --delimiter"):
        preview(path)
    assert preview(path, delimiter=":").class_counts == {"a": 30, "b": 30}


def test_a_file_of_two_encodings_is_not_told_to_spoil_half_of_it(tmp_path):
    path = tmp_path / "data.csv"
    lines = [f"caf\u00e9 number {n} is this one,{'ab'[n % 2]}\n" for n in range(60)]
    path.write_bytes(
        "".join(["text,label\n", *lines[:30]]).encode() + "".join(lines[30:]).encode("cp1252")
    )
    note = next(note for note in preview(path).notes if note.startswith("Encoding: "))
    assert "30 lines with foreign letters are UTF-8, 30 are not" in note
    assert "--encoding" not in note
