"""Arrow and Feather files come back with another label, and the same in everything else."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.feather as feather
import pytest

from relabel.importers.readers.arrow import find_compression

TEXTS = ["it was good", "it was bad", "it was fine", "it was poor", "it was well", "it was awful"]
LABELS = ["pos", "neg"] * 3
FORMS = [("stream", None), ("stream", "zstd"), ("file", "lz4"), ("file", None)]


def write_arrow(path, table, form="file", compression=None, rows=4):
    how = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=True)
    make = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as file, make(file, table.schema, options=how) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def make_table(*, categories=False):
    labels = pa.array(LABELS).dictionary_encode() if categories else pa.array(LABELS)
    table = pa.table({"text": TEXTS, "label": labels, "n": pa.array(range(6), pa.int8())})
    return table.replace_schema_metadata({"of": "mine"})


@pytest.mark.parametrize("categories", [False, True], ids=["names", "categories"])
@pytest.mark.parametrize(("form", "compression"), FORMS)
def test_it_differs_in_the_label_alone(imported, tmp_path, form, compression, categories):
    table = make_table(categories=categories)
    path = write_arrow(tmp_path / "reviews.arrow", table, form, compression)
    imported.bring(path, text="text", label="label")
    imported.relabel("it was good", "neg")
    data = imported.export()
    opened = pa.ipc.open_stream if form == "stream" else pa.ipc.open_file
    back = opened(pa.BufferReader(data)).read_all()
    assert back.schema.equals(table.schema, check_metadata=True)
    assert back.drop(["label"]).equals(table.drop(["label"]))
    assert back["label"].to_pylist() == ["neg", *LABELS[1:]]
    (tmp_path / "back.arrow").write_bytes(data)
    # Values of few bytes may stay as they are, whatever was asked for.
    assert find_compression(tmp_path / "back.arrow") == find_compression(path)
    assert imported.notes == ["reviews.arrow: 1 row with another label."]


def test_a_class_that_the_first_batch_lacks_is_added_to_its_categories(imported, tmp_path):
    labels = pa.chunked_array(
        [pa.array(["pos"] * 3).dictionary_encode(), pa.array(["neg"] * 3).dictionary_encode()]
    )
    table = pa.table({"text": TEXTS, "label": labels})
    path = write_arrow(tmp_path / "reviews.arrow", table.unify_dictionaries(), rows=3)
    imported.bring(path, text="text", label="label")
    imported.relabel("it was good", "neg")
    back = feather.read_table(io.BytesIO(imported.export()))
    assert back["label"].to_pylist() == ["neg", "pos", "pos", "neg", "neg", "neg"]


def test_rows_can_be_left_out_and_answers_stand_beside_them(imported, tmp_path):
    path = tmp_path / "reviews.feather"
    feather.write_feather(make_table(), str(path), compression="lz4")
    imported.bring(path, text="text", label="label")
    imported.relabel("it was good", "neg")
    back = feather.read_table(io.BytesIO(imported.export(reviewed_only=True, beside=True)))
    assert back["text"].to_pylist() == ["it was good"]
    assert back["given_label"].to_pylist() == ["pos"]
