"""Tables in Arrow's own files, which Feather's are too."""

from __future__ import annotations

import gzip

import pandas as pd
import pyarrow as pa
import pytest

from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions, OptionWithoutEffectError
from tests.relabel.exporters.test_own_arrow import make_table, write_arrow
from tests.relabel.importers.builders import problems, read
from tracin_core.errors import InputError


@pytest.mark.parametrize(("form", "name"), [("stream", "a.arrow"), ("file", "a.ipc")])
def test_a_table_is_read_by_its_columns(tmp_path, form, name):
    path = write_arrow(tmp_path / name, make_table(), form)
    preview = open_source(path, ImportOptions()).preview()
    assert (preview.format, preview.kind, preview.target) == ("arrow", "text", "label")
    assert preview.class_counts == {"neg": 3, "pos": 3}


def test_a_frame_that_pandas_wrote_is_read_with_its_categories(tmp_path):
    frame = pd.DataFrame({"text": [f"review {n} of it" for n in range(10)]})
    frame["mood"] = pd.Categorical(["good", "bad"] * 5)
    frame.to_feather(tmp_path / "frame.feather")
    source = open_source(tmp_path / "frame.feather", ImportOptions(label="mood"))
    assert source.preview().class_counts == {"bad": 5, "good": 5}


def test_rows_that_cannot_be_used_are_named(tmp_path):
    texts = ["it was good", "", "it was bad", "it was well", "it was awful"]
    table = pa.table({"text": texts, "label": ["pos", "pos", "neg", None, "neg"]})
    path = write_arrow(tmp_path / "a.arrow", table, rows=2)
    found = [(one.where, one.what) for one in problems(path)]
    assert found == [("row 2", "empty text"), ("row 4", "no label")]
    assert len(read(path)) == 3


def test_files_that_cannot_be_read_are_refused(tmp_path):
    whole = write_arrow(tmp_path / "a.arrow", make_table()).read_bytes()
    bad = {
        "cut.arrow": (whole[:-100], "Not an Arrow file"),
        "empty.feather": (b"", "cannot be read"),
        "old.feather": (b"FEA1" + bytes(50), "first version of Feather"),
        "packed.arrow.gz": (gzip.compress(whole), "Unpack it: gunzip"),
    }
    for name, (data, words) in bad.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=words):
            open_source(tmp_path / name, ImportOptions())


@pytest.mark.parametrize("form", ["stream", "file"])
def test_a_dictionary_of_a_damaged_length_is_refused(tmp_path, form):
    words = [f"class {n}" for n in range(777)]
    table = pa.table({"text": words, "label": pa.array(words).dictionary_encode()})
    path = write_arrow(tmp_path / "a.arrow", table, form, rows=1000)
    length, claimed = (number.to_bytes(8, "little") for number in (777, 2**50))
    # Of the rows as well, in a file that begins with the dictionary: only its own are changed.
    whole = path.read_bytes()
    start = whole.index(length)
    path.write_bytes(whole[:start] + whole[start:].replace(length, claimed, 2))
    with pytest.raises(InputError, match="cannot be read"):
        open_source(path, ImportOptions())


def test_options_of_other_files_have_no_effect(tmp_path):
    path = write_arrow(tmp_path / "a.arrow", make_table())
    with pytest.raises(OptionWithoutEffectError, match="no effect on an Arrow or Feather file"):
        open_source(path, ImportOptions(encoding="cp1252"))
