"""What Label Studio exports: which annotation holds, which rows are bad, where pictures lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relabel.exporters.labelstudio import REFERENCE
from relabel.importers.files.served import find_served, names_picture
from relabel.importers.readers.annotations.label_studio import OWN_KEY
from tests.relabel.importers.builders import image_folder, make_zip, picture, preview, read
from tracin_core.errors import InputError

CLASSES = ("neg", "pos")


def annotation(*choices: str, control: str = "mood", to_name: str = "text", **more: Any) -> Any:
    """Return an annotation that answers one control."""
    result = {"from_name": control, "to_name": to_name, "type": "choices"}
    return {"result": [result | {"value": {"choices": list(choices)}}]} | more


def make_tasks(number: int = 12, **data: Any) -> list[dict[str, Any]]:
    """Return tasks of texts, every other one of the same class."""
    return [
        {"id": n, "data": {"text": f"the text of number {n}"} | data,
         "annotations": [annotation(CLASSES[n % 2])], "predictions": []}
        for n in range(number)
    ]  # fmt: skip


def write(path: Path, found: object) -> Path:
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def label_of(path: Path, number: int, **options: Any) -> str | None:
    """Return the label of a task by its place."""
    return next((one.label for one in read(path, **options) if one.row == number + 1), None)


def test_tasks_are_read_with_their_choices(tmp_path):
    found = preview(write(tmp_path / "tasks.json", make_tasks(source="web")))
    assert (found.format, found.kind, found.target) == ("label-studio", "text", "mood")
    assert found.class_counts == {"neg": 6, "pos": 6}
    assert {c.name: c.role for c in found.columns}["source"] == "left out"


@pytest.mark.parametrize(
    ("annotations", "label", "how"),
    [
        ([annotation("pos"), annotation("neg"), annotation("neg")], "neg", "majority (1)"),
        ([annotation("pos"), annotation("pos")], "pos", "agreed (1)"),
        ([annotation("pos", updated_at="2025"), annotation("neg", updated_at="2024")],
         "pos", "newest (1)"),
        ([annotation("pos"), annotation("neg")], "neg", "newest (1)"),
        ([annotation("pos", ground_truth=True), annotation("neg"), annotation("neg")],
         "pos", "ground truth (1)"),
        ([annotation("pos"), annotation("neg", was_cancelled=True)], "pos", "cancelled (skipped)"),
    ],
)  # fmt: skip
def test_of_several_annotations_one_holds_and_it_is_said_why(tmp_path, annotations, label, how):
    tasks = make_tasks()
    tasks[2]["annotations"] = annotations
    path = write(tmp_path / "tasks.json", tasks)
    assert label_of(path, 2) == label
    assert any(how in note for note in preview(path).notes)


def test_tasks_without_one_label_are_left_out_with_the_reason(tmp_path):
    tasks = make_tasks()
    tasks[0]["annotations"] = [annotation("pos", was_cancelled=True)]
    tasks[1] |= {"annotations": [], "predictions": [annotation("pos")]}
    tasks[2]["annotations"] = [annotation("pos", "neg")]
    tasks[3]["annotations"][0]["result"] += annotation("neg")["result"]
    tasks[4]["data"] = {"text": "  "}
    found = preview(write(tmp_path / "tasks.json", tasks))
    assert found.problem_counts == {
        "left out by its status": 1, "no label": 1, "several labels": 2, "empty text": 1
    }  # fmt: skip
    said = {problem.where: problem.message for problem in found.problems}
    assert "cancelled" in said["row 1"]
    assert "predictions of models are not read" in said["row 2"]
    assert "'pos', 'neg'" in said["row 3"]
    assert "2 answers to 'mood'" in said["row 4"]
    assert any("Predictions of models, in 1 task, are not read" in note for note in found.notes)


@pytest.mark.parametrize("kind", ["labels", "rectanglelabels", "brushlabels", "taxonomy"])
def test_marked_parts_are_refused_by_name(tmp_path, kind):
    tasks = make_tasks()
    for task in tasks:
        (task["annotations"][0]["result"][0]) |= {"type": kind, "value": {kind: ["x"]}}
    with pytest.raises(InputError, match=rf"{kind} \(12\).*one label for each.*<Choices>"):
        preview(write(tmp_path / "tasks.json", tasks))


def test_of_several_controls_one_has_to_be_named(tmp_path):
    tasks = make_tasks()
    for n, task in enumerate(tasks):
        task["annotations"][0]["result"] += annotation("ab"[n // 6], control="tone")["result"]
    path = write(tmp_path / "tasks.json", tasks)
    with pytest.raises(InputError, match=r"cannot be told.*'mood' \(neg, pos\), 'tone'.*--label"):
        preview(path)
    assert preview(path, label="tone").class_counts == {"a": 6, "b": 6}


def test_numbers_and_ratings_are_predicted(tmp_path):
    tasks = make_tasks()
    for n, task in enumerate(tasks):
        task["annotations"][0]["result"][0] |= {"type": "rating", "value": {"rating": n % 5}}
    path = write(tmp_path / "tasks.json", tasks)
    assert (preview(path).task, read(path)[3].value) == ("regression", 3.0)
    assert preview(path, label="mood").class_counts.keys() == set("01234")


def test_the_flat_form_is_read(tmp_path):
    rows = [
        {"text": t["data"]["text"], "id": n, "mood": CLASSES[n % 2], "annotator": 1,
         "annotation_id": n, "lead_time": 2.5}
        for n, t in enumerate(make_tasks())
    ]  # fmt: skip
    rows[0]["mood"] = {"choices": ["pos", "neg"]}
    found = preview(write(tmp_path / "min.json", rows))
    assert (found.format, found.options.text, found.options.label) == (
        "label-studio", "text", "mood"
    )  # fmt: skip
    assert (found.class_counts, found.problem_counts) == (
        {"neg": 5, "pos": 6}, {"several labels": 1}
    )  # fmt: skip
    boxes = [row | {"mood": [{"x": 1, "rectanglelabels": ["a"]}]} for row in rows]
    with pytest.raises(InputError, match="mark parts of the examples"):
        preview(write(tmp_path / "boxes.json", boxes))


ADDRESSES = {
    "upload": "/data/upload/3/1f2e3d4c-{}",
    "local": "/data/local-files/?d=pictures%2F{}",
    "host": "http://localhost:8080/data/upload/3/1f2e3d4c-{}",
    "storage": "s3://bucket/pictures/{}",
    "plain": "pictures/{}",
}


def picture_tasks(address: str) -> list[dict[str, Any]]:
    return [
        {"id": n, "data": {"img": address.format(f"{n}.png")},
         "annotations": [annotation(CLASSES[n % 2], to_name="img")]}
        for n in range(12)
    ]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_addresses_lead_to_files(tmp_path, address):
    image_folder(tmp_path, ["pictures/1.png", "other/2.png", "pictures/2.png"])
    assert names_picture(address.format("1.png"))
    assert find_served(tmp_path, address.format("1.png")) == "pictures/1.png"
    whole = "pictures" in address  # else it may be either
    assert (find_served(tmp_path, address.format("2.png")) == "pictures/2.png") == whole
    assert not (tmp_path / find_served(tmp_path, address.format("3.png"))).exists()


@pytest.mark.parametrize("place", ["folder", "archive", "image root"])
def test_pictures_are_found_below_the_root(tmp_path, place):
    tasks = json.dumps(picture_tasks(ADDRESSES["upload"])).encode()
    files = {f"pictures/{n}.png": picture(n) for n in range(11)}
    target = make_zip(tmp_path / "all.zip", {"tasks.json": tasks, **files})
    if place != "archive":
        for name, data in {"in/tasks.json": tasks, **files}.items():
            path = tmp_path / ("out" if place == "image root" else "in") / name.split("in/")[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        target = tmp_path / "in"
    if place == "image root":
        (tmp_path / "out" / "tasks.json").rename(tmp_path / "in.json")
        found = preview(tmp_path / "in.json", image_root=str(tmp_path / "out"))
    else:
        found = preview(target)
    assert (found.format, found.kind) == ("label-studio", "image")
    assert (found.num_usable, found.problem_counts) == (11, {"missing image": 1})


def test_no_address_leads_out_of_the_root(tmp_path):
    (tmp_path / "secret.png").write_bytes(picture(1))
    tasks = picture_tasks("/data/local-files/?d=../{}")
    tasks[0]["data"]["img"] = "/data/local-files/?d=../secret.png"
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="None of the 12 examples can be used"):
        preview(write(tmp_path / "in" / "tasks.json", tasks))


def test_whoever_names_what_is_inside_gets_it(tmp_path):
    path = write(tmp_path / "tasks.json", make_tasks())
    label = "annotations.0.result.0.value.choices"
    found = preview(path, text="data.text", label=label)
    assert (found.options.label, found.class_counts) == (label, {"neg": 6, "pos": 6})


def test_the_key_of_our_own_export_is_known():
    assert OWN_KEY == REFERENCE


def test_a_ref_id_of_other_tasks_is_no_key(tmp_path):
    found = preview(write(tmp_path / "tasks.json", make_tasks(ref_id="of the shop")))
    assert (found.options.key, found.num_usable) == (None, 12)


def test_our_own_tasks_of_a_table_have_a_way_back(tmp_path):
    tasks = make_tasks(**dict.fromkeys(("ref_id", "given_label", "source_place"), "x"))
    for n, task in enumerate(tasks):
        task["data"] |= {"size": n, "ref_id": f"k{n}", "given_label": CLASSES[n % 2]}
    path = write(tmp_path / "tasks.json", tasks)
    assert any(note.endswith("--features size") for note in preview(path).notes)
    found = preview(path, features=("size",))
    assert (found.kind, found.options.key, found.num_usable) == ("table", "ref_id", 12)
