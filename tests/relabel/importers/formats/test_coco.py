"""COCO files that classify pictures are read; boxes of COCO, YOLO and Pascal VOC are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relabel.importers.readers.annotations.json_members import read_members
from tests.relabel.importers.builders import image_folder, make_zip, pets, picture, preview, read
from tracin_core.errors import InputError

NAMES = ("cat", "dog")


def coco(number: int = 12, **more: Any) -> dict[str, Any]:
    """Return a file of pictures, every other one of the same category."""
    return {
        "info": {"year": 2024}, "licenses": [],
        "images": [{"id": n, "file_name": f"{n}.png", "width": 6} for n in range(number)],
        "categories": [{"id": 7 + n, "name": name} for n, name in enumerate(NAMES)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 7 + n % 2} | more for n in range(number)
        ],
    }  # fmt: skip


def lay(folder: Path, found: dict[str, Any], name: str = "all.json", pictures: str = "") -> Path:
    """Write a file and the pictures that it names, the last one aside."""
    images = [f"{pictures}{one['file_name']}" for one in found["images"][:-1]]
    image_folder(folder, images)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(found))
    return folder / name


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("chunk", [7, 1 << 16])
def test_members_are_read_one_by_one(tmp_path, monkeypatch, indent, chunk):
    monkeypatch.setattr("relabel.importers.readers.annotations.json_members._CHUNK", chunk)
    found = {"a": 12345678, "b": [1234567, {"c": ["x", "]"]}, "}"], "d": [], "e": {"f": "é"}}
    (tmp_path / "a.json").write_text(json.dumps(found, indent=indent), encoding="utf-8")
    members = list(read_members(tmp_path / "a.json", "utf-8"))
    assert members == [
        ("a", 12345678), *(("b", one) for one in found["b"]), ("e", {"f": "é"})
    ]  # fmt: skip
    (tmp_path / "a.json").write_text('{"a": [1, 2')
    with pytest.raises(InputError, match="cut off"):
        list(read_members(tmp_path / "a.json", "utf-8"))


@pytest.mark.parametrize("place", ["file", "folder", "archive", "annotations"])
def test_the_category_of_a_picture_is_its_label(tmp_path, place):
    found = coco(bbox=[0, 0, 2, 2])
    found["annotations"] += [{"id": 90, "image_id": 2, "category_id": 7}]
    found["annotations"] += [{"id": 91, "image_id": 3, "category_id": 7}]
    found["annotations"][4]["category_id"] = 99
    del found["annotations"][0]
    inside = place == "annotations"
    path = lay(tmp_path / "set", found, *(("annotations/all.json", "val/") if inside else ()))
    if place == "folder":
        path = path.parent
    if place == "archive":
        path = make_zip(
            tmp_path / "set.zip", {p.name: p.read_bytes() for p in path.parent.iterdir()}
        )
    seen = preview(path)
    assert (seen.format, seen.kind, seen.class_counts) == ("coco", "image", {"cat": 4, "dog": 4})
    assert seen.problem_counts == {
        "no label": 1, "several labels": 1, "unknown class": 1, "missing image": 1
    }  # fmt: skip
    assert any("is not read (boxes: 11, in 13 annotations)" in note for note in seen.notes)


def test_a_file_in_each_folder_is_a_split(tmp_path):
    for part, name in enumerate(("train", "valid")):
        lay(tmp_path / name, coco(), "_annotations.coco.json")
        for n in range(11):
            (tmp_path / name / f"{n}.png").write_bytes(picture(100 * part + n))
    found = preview(tmp_path)
    assert (found.format, found.counts) == ("coco", {"train": 11, "test": 11})


def test_the_only_file_in_a_folder_of_annotations_is_taken(tmp_path):
    files = {f"images/{n}.png": picture(n) for n in range(11)}
    files["annotations/instances_default.json"] = json.dumps(coco()).encode()
    make_zip(tmp_path / "birds.zip", files)
    found = preview(tmp_path / "birds.zip")
    assert (found.format, found.num_usable) == ("coco", 11)
    assert "--format image-folder says otherwise" in " ".join(found.notes)
    # Where it was unpacked is gone when a person reads of it.
    assert "does not exist in birds.zip. " in found.problems[0].message


def test_detection_is_refused_by_name(tmp_path):
    found = coco(bbox=[0, 0, 2, 2], segmentation=[[1, 2, 3]])
    found["annotations"] += [{"id": n, "image_id": n, "category_id": 8 - n % 2} for n in range(9)]
    path = lay(tmp_path, found)
    with pytest.raises(InputError, match=r"detection or segmentation \(boxes: 12, outlines: 12\)"):
        preview(path)


def test_a_file_without_categories_is_refused(tmp_path):
    found = coco()
    for one in found["annotations"]:
        one["caption"] = "a cat"
        del one["category_id"]
    with pytest.raises(InputError, match=r"without categories.*Captions"):
        preview(lay(tmp_path, found))


BOXES = {
    "yolo": ({"labels/train/{}.txt": b"0 0.5 0.5 0.25 1\n1 .5 .5 1 1e-2\n"}, "a YOLO data set"),
    "darknet": ({"images/train/{}.txt": b"0 0.5 0.5 0.25 1", "classes.txt": b"cat\n"}, "a YOLO"),
    "voc": ({"Annotations/{}.xml": b"<annotation><object/></annotation>"}, "a Pascal VOC data set"),
    "coco": (
        {f"annotations/{one}.json": json.dumps(coco()).encode() for one in ("train", "val")},
        "a COCO data set.*files: annotations/train.json, annotations/val.json",
    ),
}


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize("kind", BOXES)
def test_folders_of_boxes_are_refused_by_name(tmp_path, kind, packed):
    boxes, words = BOXES[kind]
    folder = {"voc": "JPEGImages", "coco": "val"}.get(kind, "images/train")
    files = {f"{folder}/{n}.png": picture(n) for n in range(4)}
    files |= {name.format(n): data for name, data in boxes.items() for n in range(4)}
    make_zip(tmp_path / "set.zip", files)
    for name, data in files.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        preview(tmp_path / ("set.zip" if packed else "set"))


def test_texts_beside_pictures_of_classes_are_no_boxes(tmp_path):
    image_folder(tmp_path, pets())
    (tmp_path / "cat" / "0.txt").write_text("0 0.5 0.5 0.25 1")
    assert len(read(tmp_path)) == 6
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(InputError, match="YOLO"):
        read(tmp_path)
    assert len(read(tmp_path, classes=("cat", "dog"))) == 6
