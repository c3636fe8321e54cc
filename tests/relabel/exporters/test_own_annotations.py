"""What annotation tools export comes back with another label in it, and nothing else."""

from __future__ import annotations

import gzip
import json

import pytest

from relabel.db.projects import get_project
from tests.relabel.importers.builders import image_folder, pets
from tests.relabel.importers.formats.test_annotated_lines import choices, doccano, prodigy
from tests.relabel.importers.formats.test_annotated_lines import write as write_lines
from tests.relabel.importers.formats.test_coco import coco, lay
from tests.relabel.importers.formats.test_label_studio import annotation, make_tasks, write
from tests.relabel.importers.formats.test_picture_metadata import metadata, rows
from tracin_core.errors import ConfigurationError, InputError


def test_an_export_of_label_studio_differs_in_the_choice_alone(imported, tmp_path):
    tasks = make_tasks()
    tasks[2]["annotations"] = [annotation("neg", was_cancelled=True), annotation("pos")]
    path = write(tmp_path / "tasks.json", tasks)
    imported.bring(path)
    assert imported.export() == path.read_bytes()
    imported.relabel("the text of number 2", "neg")
    tasks[2]["annotations"][1]["result"][0]["value"]["choices"] = ["neg"]
    assert imported.export().decode() == json.dumps(tasks)


def test_more_tasks_of_the_same_project_are_packed_and_known(imported, tmp_path):
    imported.bring(write(tmp_path / "tasks.json", make_tasks()))
    more = tmp_path / "more.json.gz"
    more.write_bytes(gzip.compress(json.dumps(make_tasks(20)).encode()))
    imported.bring(more)
    texts = json.loads(f"[{','.join(imported.export('jsonl').decode().splitlines())}]")
    assert len({one["text"] for one in texts}) == len(texts) == 20
    imported.relabel("the text of number 18", "pos")
    found = json.loads(gzip.decompress(imported.export(number=2)))
    assert found[18]["annotations"] == [annotation("pos")]


def test_what_several_people_said_is_not_changed_in_their_name(imported, tmp_path):
    tasks = make_tasks()
    tasks[2]["annotations"] = [annotation("neg"), annotation("neg")]
    path = write(tmp_path / "tasks.json", tasks)
    imported.bring(path)
    imported.relabel("the text of number 2", "pos")
    with pytest.raises(InputError, match=r"Object 3: several people.*--format label-studio"):
        imported.export()


def test_our_own_export_for_label_studio_comes_back_in(imported, tmp_path):
    imported.bring(write(tmp_path / "tasks.json", make_tasks()))
    imported.relabel("the text of number 2", "pos")
    (tmp_path / "ours.json").write_bytes(imported.export("label-studio"))
    imported.bring(tmp_path / "ours.json", "again")
    key = imported.find(lambda one: one.text == "the text of number 2").key
    again = imported.find(lambda one: one.key == key, "again")
    classes = get_project(imported.engine, "again").classes
    assert (classes[again.given_label], again.split) == ("pos", "train")
    imported.relabel("the text of number 2", "neg", "again")
    (task,) = (one for one in json.loads(imported.export(slug="again")) if one["annotations"])
    assert task["annotations"][0]["result"][0]["value"] == {"choices": ["neg"]}
    imported.relabel("the text of number 4", "pos", "again")
    tasks = json.loads(imported.export(slug="again"))
    (task,) = (one for one in tasks if one["data"]["text"] == "the text of number 4")
    assert task["data"]["given_label"] == "pos"


@pytest.mark.parametrize("rows", [doccano(), prodigy(), choices()], ids=["doc", "binary", "choice"])
def test_json_lines_of_tools_differ_in_the_label_alone(imported, tmp_path, rows):
    path = write_lines(tmp_path / "all.jsonl", rows)
    imported.bring(path)
    assert imported.export() == path.read_bytes()
    imported.relabel("the text of number 2", "pos")
    label = "accept" if "accept" in rows[2] else "label"
    changed = [*rows]
    changed[2] = rows[2] | {label: ["pos"] if isinstance(rows[2][label], list) else "pos"}
    assert imported.export() == write_lines(path, changed).read_bytes()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_of_pictures_differ_in_the_label_alone(imported, tmp_path, kind):
    folder = image_folder(tmp_path / "pets", [f"{n}.png" for n in range(12)])
    found = rows()
    (folder / f"metadata.{kind}").write_bytes(metadata(kind, found))
    imported.bring(folder)
    assert imported.export() == metadata(kind, found)
    line = 3 if kind == "csv" else 2
    view = imported.find(lambda one: one.source_place == f"metadata.{kind}, row {line}")
    imported.decide(view, "relabel", "cat")
    found[1]["label"] = "cat"
    assert imported.export() == metadata(kind, found)


def test_what_cannot_be_given_back_says_so_and_exports_otherwise(imported, tmp_path):
    imported.bring(lay(tmp_path / "set", coco()))
    with pytest.raises(ConfigurationError, match="in no table that can be given back"):
        imported.export()
    assert b"cat" in imported.export("csv")
    for format in ("huggingface", "label-studio"):
        assert imported.export(format)


def test_our_own_export_of_pictures_comes_back_in(imported, tmp_path):
    imported.bring(image_folder(tmp_path / "pets", pets("train", "test", each=6)))
    (tmp_path / "ours.json").write_bytes(imported.export("label-studio"))
    media = imported.workspace.media_folder("mine")
    imported.bring(tmp_path / "ours.json", "again", image_root=str(media))
    first = imported.find(lambda one: one.source_place == "test/dog/2.png")
    again = imported.find(lambda one: one.key == first.key, "again")
    assert (again.split, again.given_label) == (first.split, first.given_label) == ("test", 1)
