"""Image folders of Hugging Face: a metadata file beside the pictures, or one in each split."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.relabel.importers.builders import image_folder, make_tar, make_zip, preview, problems


def rows(number: int = 12, before: str = "", **more: Any) -> list[dict[str, Any]]:
    return [
        {"file_name": f"{before}{n}.png", "label": ("cat", "dog")[n % 2]} | more
        for n in range(number)
    ]


def metadata(kind: str, found: list[dict[str, Any]]) -> bytes:
    """Return a metadata file."""
    if kind == "jsonl":
        return "\n".join(map(json.dumps, found)).encode()
    if kind == "parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(found), buffer)
        return buffer.getvalue()
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return lines.getvalue().encode()


def pack(folder: Path, how: str) -> Path:
    """Return a folder as it is, or an archive of it."""
    if how == "folder":
        return folder
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    make = make_zip if how == "zip" else make_tar
    return make(folder.parent / f"{folder.name}.{how}", files)


@pytest.mark.parametrize(
    ("kind", "how"), [("csv", "folder"), ("jsonl", "zip"), ("parquet", "tar.gz")]
)
def test_what_the_table_and_the_folder_have_more_is_said(tmp_path, kind, how):
    folder = image_folder(tmp_path / "pets", [f"in/{n}.png" for n in range(1, 15)])
    (folder / f"metadata.{kind}").write_bytes(metadata(kind, rows(before="in/", caption="a pet")))
    found = preview(pack(folder, how))
    assert (found.kind, found.class_counts) == ("image", {"cat": 5, "dog": 6})
    assert found.problem_counts == {"missing image": 1}
    assert "'in/0.png' does not exist" in found.problems[0].message
    assert any(
        note.startswith(
            "No row names 3 of the 14 pictures in the folder, which are left out: in/12"
        )
        for note in found.notes
    )
    assert {c.name: c.role.partition(":")[0] for c in found.columns}["caption"] == "left out"


@pytest.mark.parametrize(
    ("kind", "how"), [("csv", "zip"), ("jsonl", "folder"), ("parquet", "folder")]
)
def test_a_table_in_each_split(tmp_path, kind, how):
    names = [f"{part}/{n}.png" for part in ("train", "test") for n in range(12)]
    folder = image_folder(tmp_path / "pets", names)
    for part in ("train", "test"):
        (folder / part / f"metadata.{kind}").write_bytes(metadata(kind, rows(11)))
    found = preview(pack(folder, how))
    assert (found.counts, found.problem_counts) == ({"train": 11, "test": 11}, {})
    assert any("No row names 2 of the 24 pictures" in note for note in found.notes)


def test_pictures_beside_their_masks(tmp_path):
    names = [f"{part}/{n}.png" for part in ("masks", "pictures") for n in range(12)]
    folder = image_folder(tmp_path / "pets", names)
    found = [
        {"mask_file_name": f"masks/{n}.png", "image_file_name": f"pictures/{n}.png"} | row
        for n, row in enumerate(rows())
    ]
    for row in found:
        del row["file_name"]
    (folder / "metadata.csv").write_bytes(metadata("csv", found))
    seen = preview(folder)
    assert (seen.options.image, seen.num_usable) == ("image_file_name", 12)
    assert not any("No row names" in note for note in seen.notes)


def test_folders_of_splits_in_the_names_are_told(tmp_path):
    names = [f"{part}/{n}.png" for part in ("train", "test") for n in range(6)]
    folder = image_folder(tmp_path / "pets", names)
    table = metadata("csv", rows(6, "train/") + rows(6, "test/"))
    (folder / "metadata.csv").write_bytes(table)
    assert any("like a split (test, train), which are not" in one for one in preview(folder).notes)


@pytest.mark.parametrize("splits", [False, True])
def test_captions_alone_leave_the_classes_to_the_folders(tmp_path, splits):
    parts = ("train/", "test/") if splits else ("",)
    names = [f"{label}/{n}.png" for label in ("cat", "dog") for n in range(6)]
    folder = image_folder(tmp_path / "pets", [f"{part}{name}" for part in parts for name in names])
    table = [{"file_name": name, "text": f"a picture of {name}"} for name in names]
    for part in parts:
        (folder / f"{part}metadata.csv").write_bytes(metadata("csv", table))
    found = preview(folder)
    assert (found.format, found.classes) == ("image-folder", ("cat", "dog"))
    table = [row | {"text": f"a picture of {n % 3}"} for n, row in enumerate(table)]
    for part in parts:
        (folder / f"{part}metadata.csv").write_bytes(metadata("csv", table))
    assert preview(folder).format == "table"


def test_a_name_that_leads_out_is_refused(tmp_path):
    folder = image_folder(tmp_path / "pets", [f"{n}.png" for n in range(12)])
    image_folder(tmp_path, ["secret.png"])
    found = rows()
    found[0]["file_name"] = "../secret.png"
    (folder / "metadata.jsonl").write_bytes(metadata("jsonl", found))
    assert [one.what for one in problems(folder)] == ["outside the data folder"]
