"""Whatever the bytes are: what was written is read back, or a person is told in words."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import pickle
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.relabel.importers.builders import make_tar, make_zip, pets, picture, preview, read, texts
from tracin_core.errors import TracInError

SAME_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
TEXTS = st.lists(WORDS.filter(str.strip), min_size=4, max_size=12, unique=True)


@SAME_FOLDER
@given(TEXTS, st.sampled_from([",", ";", "\t", "|"]))
def test_texts_that_a_spreadsheet_writes_are_read_back_equal(tmp_path, values, delimiter):
    path = tmp_path / "data.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter=delimiter)
        rows.writerow(("text", "label"))
        rows.writerows((text, n % 2) for n, text in enumerate(values))
    found = read(path, text="text", label="label", delimiter=delimiter, encoding="utf-8")
    assert [record.text for record in found] == values


@SAME_FOLDER
@given(TEXTS)
def test_texts_in_json_lines_are_read_back_equal(tmp_path, values):
    path = tmp_path / "data.jsonl"
    rows = ({"text": text, "label": n % 2} for n, text in enumerate(values))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [record.text for record in read(path, text="text", label="label")] == values


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict[str, bytes]:
    """A sound file of each kind, by its name."""
    folder = tmp_path_factory.mktemp("sound")
    members = {name: picture(n) for n, name in enumerate(pets())}
    arrays = BytesIO()
    np.savez(arrays, x=np.arange(500, dtype=np.uint8).reshape(20, 5, 5), y=np.arange(20) % 3)
    table = texts(folder / "a.csv").read_bytes()
    batch = {"data": np.zeros((4, 3072), np.uint8), "labels": [0, 1, 0, 1]}
    return {
        "data.csv": table,
        "data.csv.gz": gzip.compress(table),
        "data.jsonl": b'{"text": "some words", "label": 1}\n' * 20,
        "data.npz": arrays.getvalue(),
        "data.zip": make_zip(folder / "a.zip", members).read_bytes(),
        "data.tar.gz": make_tar(folder / "a.tar.gz", members).read_bytes(),
        "cifar-10-batches-py/test_batch": pickle.dumps(batch),
    }


CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1), st.sampled_from(["set", "cut", "add", "end"]), st.binary(max_size=8)
    ),
    min_size=1,
    max_size=6,
)


def change(data: bytes, changes) -> bytes:
    for share, way, new in changes:
        place = int(share * len(data))
        rest = {"set": place + len(new), "cut": place + 30, "add": place, "end": len(data)}[way]
        data = data[:place] + (b"" if way in ("cut", "end") else new) + data[rest:]
    return data


@pytest.mark.parametrize(
    "name",
    [
        *("data.csv", "data.csv.gz", "data.jsonl", "data.npz", "data.zip", "data.tar.gz"),
        "cifar-10-batches-py/test_batch",
    ],
)
@SAME_FOLDER
@given(changes=CHANGES)
def test_damaged_files_are_read_or_explained(tmp_path, sound, name, changes):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(change(sound[name], changes))
    # Any other exception would be a bug that a person sees as a stack of code.
    with contextlib.suppress(TracInError):
        assert preview(tmp_path if "cifar" in name else path).num_usable > 0
