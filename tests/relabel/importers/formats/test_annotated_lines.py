"""What doccano and Prodigy export as JSON lines: one label each, and everything that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.relabel.importers.builders import make_tar, make_zip, picture, preview, read
from tracin_core.errors import InputError

CLASSES = ("neg", "pos")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def doccano(name: str = "text", number: int = 12) -> list[dict[str, Any]]:
    return [
        {"id": n, name: f"the text of number {n}", "label": [CLASSES[n % 2]], "Comments": []}
        for n in range(number)
    ]


def prodigy(number: int = 12, **more: Any) -> list[dict[str, Any]]:
    return [
        {"text": f"the text of number {n}", "label": CLASSES[n % 2], "answer": "accept",
         "_input_hash": n, "_task_hash": -n} | more
        for n in range(number)
    ]  # fmt: skip


def choices() -> list[dict[str, Any]]:
    options = [{"id": name, "text": name} for name in CLASSES]
    rows = prodigy(options=options)
    return [row | {"accept": [row.pop("label")]} for row in rows]


@pytest.mark.parametrize("name", ["text", "data"])
def test_doccano_is_read(tmp_path, name):
    rows = doccano(name)
    rows[0]["label"] = []
    rows[1]["label"] = ["pos", "neg"]
    rows[2]["label"] = [[0, 3, "PER"]]
    found = preview(write(tmp_path / "all.jsonl", rows))
    assert (found.format, found.options.text) == ("doccano", name)
    assert found.class_counts == {"neg": 4, "pos": 5}
    assert found.problem_counts == {"no label": 2, "several labels": 1}
    said = {problem.where: problem.message for problem in found.problems}
    assert "2 labels: 'pos', 'neg'" in said["row 2"]
    assert "marked passages" in said["row 3"]


@pytest.mark.parametrize(
    "marked",
    [
        {"label": [[0, 5, "PER"]]},
        {"labels": [[0, 5, "PER"]]},
        {"entities": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 5}]},
    ],
)
def test_marked_passages_of_doccano_are_refused_by_name(tmp_path, marked):
    rows = [{"id": n, "text": f"the text of number {n}"} | marked for n in range(12)]
    with pytest.raises(InputError, match=r"sequence labelling\), in 12 rows, such as row 1"):
        preview(write(tmp_path / "all.jsonl", rows))


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_doccano_names_pictures_in_an_archive(tmp_path, make):
    rows = [{"id": n, "filename": f"{n}.png", "label": [CLASSES[n % 2]]} for n in range(12)]
    files = {f"{n}.png": picture(n) for n in range(11)}
    lines = "\n".join(map(json.dumps, rows)).encode()
    ending = "zip" if make is make_zip else "tar.gz"
    found = preview(make(tmp_path / f"all.{ending}", {"all.jsonl": lines, **files}))
    assert (found.format, found.kind, found.problem_counts) == (
        "doccano", "image", {"missing image": 1}
    )  # fmt: skip


def test_binary_answers_of_prodigy_count_where_they_accept(tmp_path):
    rows = prodigy()
    rows[0]["answer"], rows[1]["answer"] = "reject", "ignore"
    found = preview(write(tmp_path / "all.jsonl", rows))
    assert (found.format, found.class_counts) == ("prodigy", {"neg": 5, "pos": 5})
    assert found.problem_counts == {"left out by its status": 2}
    assert any("Of 1 rejected row it is known only that" in note for note in found.notes)
    assert not any(one.role != "left out" for one in found.columns if one.name.startswith("_"))


def test_options_of_prodigy_are_read(tmp_path):
    rows = choices()
    rows[0]["accept"], rows[1]["accept"] = [], ["pos", "neg"]
    path = write(tmp_path / "all.jsonl", rows)
    found = preview(path)
    assert (found.options.label, found.class_counts) == ("accept", {"neg": 5, "pos": 5})
    assert found.problem_counts == {"no label": 1, "several labels": 1}
    assert not any(one.name.startswith("options") for one in found.columns)
    for row in rows:
        row["options"] = [{"id": name, "text": name.upper()} for name in CLASSES]
    assert any("not by their texts: neg (NEG)" in n for n in preview(write(path, rows)).notes)


def test_a_single_label_of_prodigy_has_a_way_out_that_works(tmp_path):
    rows = prodigy(label="INSULT")
    for n, row in enumerate(rows):
        row["answer"] = ("accept", "reject", "reject", "ignore")[n % 4]
    path = write(tmp_path / "all.jsonl", rows)
    with pytest.raises(InputError, match=r"'INSULT'.*--label answer --classes reject,accept"):
        preview(path)
    found = preview(path, label="answer", classes=("reject", "accept"))
    assert found.class_counts == {"reject": 6, "accept": 3}
    assert found.problem_counts == {"unknown class": 3}


def test_marked_passages_of_prodigy_are_refused_by_name(tmp_path):
    rows = prodigy(spans=[{"start": 0, "end": 3, "label": "PER"}])
    path = write(tmp_path / "all.jsonl", rows)
    assert any("Marked passages, in 12 rows, are not read" in n for n in preview(path).notes)
    for row in rows:
        del row["label"]
    with pytest.raises(InputError, match=r"Prodigy with marked passages \(spans\)"):
        preview(write(path, rows))


def test_pictures_inside_of_answers_are_read(tmp_path):
    from base64 import b64encode

    rows = prodigy()
    for n, row in enumerate(rows):
        del row["text"]
        row["image"] = "data:image/png;base64," + b64encode(picture(n)).decode()
    path = write(tmp_path / "all.jsonl", rows)
    assert (preview(path).kind, len(read(path))) == ("image", 12)
