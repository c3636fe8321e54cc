"""What ``datasets`` writes: Arrow files with JSON beside them, and Parquet with its features.

The files are written as version 4 of the library writes them; it is not needed to read them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.relabel.importers.builders import picture, preview, problems, read
from tracin_core.errors import InputError

CLASSES = {"names": ["neg", "pos"], "_type": "ClassLabel"}
TEXTS = {"text": {"dtype": "string", "_type": "Value"}, "label": CLASSES}
IMAGES = {"image": {"_type": "Image"}, "label": CLASSES}
IMAGE_TYPE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def text_table(rows=20, start=0, label=lambda n: n % 2):
    numbers = range(start, start + rows)
    return pa.table(
        {"text": [f"a text, number {n}" for n in numbers], "label": [label(n) for n in numbers]}
    )


def image_table(values):
    return pa.table(
        {"image": pa.array(values, IMAGE_TYPE), "label": [n % 2 for n in range(len(values))]}
    )


def save_to_disk(folder: Path, table: pa.Table, features, *, shards=1, **state) -> Path:
    """Write what ``Dataset.save_to_disk`` writes."""
    folder.mkdir(parents=True)
    files = [f"data-{n:05d}-of-{shards:05d}.arrow" for n in range(shards)]
    size = -(-len(table) // shards)
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = table.replace_schema_metadata(metadata)
    for number, name in enumerate(files):
        part = table.slice(number * size, size)
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, part.schema) as w:
            w.write_table(part, max_chunksize=7)
    info = {"_data_files": [{"filename": name} for name in files], "_split": "train", **state}
    (folder / "state.json").write_text(json.dumps(info))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def test_a_saved_data_set_is_read_with_its_class_names(tmp_path):
    path = save_to_disk(tmp_path / "saved", text_table(), TEXTS, shards=3)
    found = preview(path)
    assert (found.format, found.kind, found.classes) == ("huggingface", "text", ("neg", "pos"))
    assert found.num_usable == 20
    assert [r.text for r in read(path)][-1] == "a text, number 19"
    assert read(path)[1].label == "pos"


def test_splits_of_a_dictionary_of_data_sets_are_kept(tmp_path):
    for number, split in enumerate(("train", "validation", "test")):
        save_to_disk(tmp_path / "saved" / split, text_table(10, 10 * number), TEXTS)
    splits = {"splits": ["train", "validation", "test"]}
    (tmp_path / "saved" / "dataset_dict.json").write_text(json.dumps(splits))
    found = preview(tmp_path / "saved")
    assert found.counts == {"train": 10, "test": 20}
    found = preview(tmp_path / "saved", test_values=("test",))
    assert found.counts == {"train": 10, "test": 10}
    assert found.problem_counts == {"left out by its split": 10}


def test_images_with_bytes_are_read(tmp_path):
    values = [{"bytes": picture(n), "path": None} for n in range(10)]
    values[3] = {"bytes": b"no image", "path": None}
    path = save_to_disk(tmp_path / "saved", image_table(values), IMAGES)
    found = preview(path)
    assert (found.kind, found.num_usable, found.classes) == ("image", 9, ("neg", "pos"))
    assert [(p.row, p.what) for p in found.problems] == [(4, "unreadable image")]
    assert read(path)[0].image.data == picture(0)


def test_images_by_path_must_lie_in_the_folder(tmp_path):
    (tmp_path / "secret.png").write_bytes(picture(50))
    values = [{"bytes": picture(n), "path": None} for n in range(6)]
    values += [
        {"bytes": None, "path": "inside.png"},
        {"bytes": None, "path": "../secret.png"},
        {"bytes": None, "path": str(tmp_path / "secret.png")},
        None,
    ]
    path = save_to_disk(tmp_path / "saved", image_table(values), IMAGES)
    (path / "inside.png").write_bytes(picture(51))
    assert [(p.row, p.what) for p in problems(path)] == [
        (8, "outside the data folder"),
        (9, "outside the data folder"),
        (10, "missing image"),
    ]
    assert len(read(path)) == 7


def test_a_label_of_minus_one_is_none(tmp_path):
    table = text_table(10, label=lambda n: -1 if n == 4 else n % 2)
    path = save_to_disk(tmp_path / "saved", table, TEXTS)
    assert [(p.row, p.what) for p in problems(path)] == [(5, "unknown class")]


def test_parquet_with_features_is_recognised(tmp_path):
    metadata = {"huggingface": json.dumps({"info": {"features": TEXTS}})}
    path = tmp_path / "data.parquet"
    pq.write_table(text_table().replace_schema_metadata(metadata), path)
    found = preview(path)
    assert (found.format, found.classes) == ("huggingface", ("neg", "pos"))


def test_parquet_files_as_the_hub_names_them_are_splits(tmp_path):
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    for number, name in enumerate(
        ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001-abc123"]
    ):
        pq.write_table(text_table(10, 10 * number), data / f"{name}.parquet")
    assert preview(tmp_path / "set").counts == {"train": 20, "test": 10}


def test_a_configuration_of_the_hub_is_found_below_its_folder(tmp_path):
    for folder, splits in {"plain_text": ("train", "test"), "other": ("train",)}.items():
        (tmp_path / folder).mkdir()
        for number, split in enumerate(splits):
            name = f"{split}-00000-of-00001.parquet"
            pq.write_table(text_table(10, 10 * number), tmp_path / folder / name)
        if folder == "plain_text":
            (tmp_path / "README.md").write_text("about it")
            assert preview(tmp_path).counts == {"train": 10, "test": 10}
    with pytest.raises(InputError, match="'other' and 'plain_text' hold Parquet files"):
        preview(tmp_path)


def test_parquet_files_without_such_names_are_one_table(tmp_path):
    for number in range(2):
        pq.write_table(text_table(10, 10 * number), tmp_path / f"part{number}.parquet")
    assert preview(tmp_path).counts == {"train": 16, "test": 4}


def test_files_with_other_columns_are_refused(tmp_path):
    pq.write_table(text_table(), tmp_path / "a.parquet")
    pq.write_table(text_table().append_column("x", [[1] * 20]), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="the same in all files"):
        preview(tmp_path)


def test_damaged_folders_are_refused_with_the_way_out(tmp_path):
    path = save_to_disk(tmp_path / "saved", text_table(), TEXTS)
    file = path / "data-00000-of-00001.arrow"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="Write or download it again"):
        preview(path)
    file.unlink()
    with pytest.raises(InputError, match=r"data-00000-of-00001\.arrow cannot be read"):
        preview(path)
    (path / "state.json").write_text("{}")
    with pytest.raises(InputError, match="a list of data files"):
        preview(path)


def test_files_outside_the_folder_are_refused(tmp_path):
    path = save_to_disk(tmp_path / "saved", text_table(), TEXTS)
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../x.arrow"}]}))
    with pytest.raises(InputError, match="lies outside it"):
        preview(path)


def test_a_selection_of_rows_is_refused_with_the_way_out(tmp_path):
    state = {"_indices_data_files": [{"filename": "indices.arrow"}]}
    path = save_to_disk(tmp_path / "saved", text_table(), TEXTS, **state)
    with pytest.raises(InputError, match="flatten_indices"):
        preview(path)


def test_lists_cannot_be_an_input(tmp_path):
    table = text_table().append_column("tokens", [[[1, 2]] * 20]).drop(["text"])
    pq.write_table(table, tmp_path / "data.parquet")
    with pytest.raises(InputError, match="No column is left"):
        preview(tmp_path / "data.parquet")


def test_text_that_is_no_utf_8_in_parquet_is_reported_by_row(tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(text_table(), path, compression="none", use_dictionary=False)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"a text, number 7", b"a text, numb\xe9r 7"))
    found = preview(path)
    assert [(p.row, p.what) for p in found.problems] == [(8, "wrong encoding")]
    assert found.num_usable == 19


@pytest.mark.parametrize("form", ["Sequence", "List"])
def test_lists_of_one_class_have_its_name(tmp_path, form):
    table = pa.table({"text": [f"a text, number {n}" for n in range(20)],
                      "labels": [[n % 2] for n in range(20)]})  # fmt: skip
    features = {"text": TEXTS["text"], "labels": {"_type": form, "feature": CLASSES}}
    assert preview(save_to_disk(tmp_path / "s", table, features)).classes == ("neg", "pos")


def test_other_columns_of_pictures_are_said(tmp_path):
    table = image_table([{"bytes": picture(n), "path": None} for n in range(10)])
    masks = pa.array([{"bytes": picture(50 + n), "path": None} for n in range(10)], IMAGE_TYPE)
    path = save_to_disk(tmp_path / "s", table.append_column("mask", masks),
                        {**IMAGES, "mask": {"_type": "Image"}})  # fmt: skip
    assert any("Column 'mask' holds pictures too" in note for note in preview(path).notes)
    assert preview(path, image="mask").num_usable == 10


def test_a_cache_of_the_library_is_refused_with_the_way_out(tmp_path):
    path = save_to_disk(tmp_path / "imdb" / "0.0.0" / "abc", text_table(), TEXTS)
    (path / "state.json").unlink()
    (path / "data-00000-of-00001.arrow").rename(path / "imdb-train.arrow")
    for folder in (path, tmp_path / "imdb"):
        with pytest.raises(InputError, match=r"cache of the library.*save_to_disk"):
            preview(folder)


def test_a_repository_in_the_cache_of_the_hub_is_read(tmp_path):
    root = tmp_path / "datasets--ann--films"
    (root / "blobs").mkdir(parents=True)
    (root / "refs").mkdir()
    for commit, rows in (("old", 4), ("new", 10)):
        folder = root / "snapshots" / commit / "plain_text"
        folder.mkdir(parents=True)
        for number, split in enumerate(("train", "test")):
            blob = root / "blobs" / f"{commit}-{split}"
            pq.write_table(text_table(rows, 10 * number), blob)
            (folder / f"{split}-00000-of-00001.parquet").symlink_to(blob)
    (root / "refs" / "main").write_text("new\n")
    assert preview(root).counts == {"train": 10, "test": 10}
    assert preview(root / "snapshots" / "old").counts == {"train": 4, "test": 4}


@pytest.mark.parametrize(
    ("splits", "counts"),
    [
        (("train", "test", "unsupervised"), {"train": 10, "test": 10}),
        (("train", "validation_matched", "validation_mismatched"), {"train": 10, "test": 20}),
        (("train.clean.100", "train.clean.360", "test.clean"), {"train": 20, "test": 10}),
        (("easy", "hard"), {"train": 16, "test": 4}),
    ],
)
def test_odd_names_of_splits_are_understood(tmp_path, splits, counts):
    for number, split in enumerate(splits):
        save_to_disk(tmp_path / "s" / split, text_table(10, 10 * number), TEXTS)
    (tmp_path / "s" / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    found = preview(tmp_path / "s")
    assert found.counts == counts
    assert any(f"Split: {splits[0]}" in note for note in found.notes)


def test_classes_without_names_keep_their_numbers(tmp_path):
    for number, names in enumerate(({}, {"names": None})):
        features = {**TEXTS, "label": {"_type": "ClassLabel", "num_classes": 2, **names}}
        path = save_to_disk(tmp_path / str(number), text_table(), features)
        assert preview(path).classes == ("0", "1")
