"""Exports as the tools read them that they are for, where these are installed.

They want other versions of what the app uses, so they may lie beside it: ``RELABEL_TESTS_TOOLS``
names a folder in which each has one, as by ``pip install --target FOLDER/datasets datasets``.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from relabel.export import export_labels
from relabel.exporters.csv import safe_cell
from relabel.exporters.labelstudio import describe_interface
from tests.relabel.db.builders import build_homes, build_scene
from tests.relabel.exporters.scenes import HOSTILE, build_hostile

pytestmark = pytest.mark.sqlite_only


# What is imported, and what is installed for that.
TOOLS = {
    "label_studio_sdk": "label-studio-sdk",
    "datasets": "datasets",
    "cleanlab": "cleanlab",
    "fiftyone": "fiftyone",
}


def run_with(tool: str, code: str, *arguments: object, **settings: str) -> str:
    """Run code in a process of its own, and return what it prints.

    Args:
        tool: What it imports.
        code: Python.
        *arguments: Of its command line.
        **settings: Of its environment.
    """
    beside = Path(os.environ.get("RELABEL_TESTS_TOOLS", "nowhere")) / TOOLS[tool]
    if not beside.is_dir() and importlib.util.find_spec(tool) is None:
        pytest.skip(f"{TOOLS[tool]} is not installed, and RELABEL_TESTS_TOOLS names no folder")
    path = {"PYTHONPATH": str(beside)} if beside.is_dir() else {}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **path, **settings},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


CHECK_TASKS = """
import json, sys
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk.label_interface.objects import TaskValue
interface = LabelInterface(open(sys.argv[1]).read())
interface.validate()
tasks = json.load(open(sys.argv[2]))
for task in tasks:
    TaskValue(**task)
    for one in task["annotations"]:
        assert interface.validate_annotation(one), one
    for one in task["predictions"]:
        assert interface.validate_prediction(one), one
    assert interface.validate_task({"data": task["data"]}), task
print(len(tasks), sum(len(task["annotations"]) for task in tasks))
"""


@pytest.mark.parametrize("kind", ["text", "image", "numbers"])
def test_label_studio_takes_the_tasks(engine, tmp_path, kind):
    scene = build_homes(engine) if kind == "numbers" else build_scene(engine, kind=kind)
    project = scene.project
    changed = {"new_value": 1.5} if kind == "numbers" else {"new_label": 2}
    scene.decide(scene.train_ids[0], "relabel", note="sure <b>", **changed)
    scene.decide(scene.train_ids[1], "exclude")
    notes: list[str] = []
    export_labels(
        engine, project.id, format="label-studio", path=tmp_path / "t.json", tell=notes.append
    )
    interface = describe_interface(project.kind, project.task, project.classes)
    assert interface in notes[0]
    (tmp_path / "i.xml").write_text(interface)
    tasks = json.loads((tmp_path / "t.json").read_text())
    (annotation,) = tasks[0]["annotations"]
    said = {one["from_name"]: one["value"] for one in annotation["result"]}
    assert said["note"] == {"text": ["sure <b>"]}
    assert said["label"] == ({"number": 1.5} if kind == "numbers" else {"choices": ["emu"]})
    assert said["decision"] == {"choices": ["relabel"]}
    found = run_with("label_studio_sdk", CHECK_TASKS, tmp_path / "i.xml", tmp_path / "t.json")
    assert found.split() == ["9", "2"]


READ_DATASET = """
import json, sys
from datasets import Dataset
found = Dataset.from_parquet(sys.argv[1], cache_dir=sys.argv[2])
label = found.features["label"]
rows = [(row["key"], label.int2str(row["label"]), row["image"].size) for row in found]
print(json.dumps([label.names, rows]))
"""


def test_datasets_reads_classes_and_pictures(engine, tmp_path):
    project = build_hostile(engine, tmp_path / "media", "image")
    path = tmp_path / "all.huggingface.parquet"
    export_labels(engine, project.id, format="huggingface", path=path, media=tmp_path / "media")
    answer = run_with("datasets", READ_DATASET, path, tmp_path / "cache")
    names, rows = json.loads(answer.splitlines()[-1])
    assert names == list(HOSTILE)
    assert [row[0] for row in rows] == [*HOSTILE[1:], HOSTILE[0]]
    assert [tuple(row[2]) for row in rows[:4]] == [(6, 4), (6, 4), (20_000, 4), (6, 4)]
    expected = export_labels(engine, project.id, format="jsonl").decode().split("\n")[:-1]
    assert [row[1] for row in rows] == [json.loads(line)["label"] for line in expected]


READ_FOLDER = """
import json, sys
from datasets import load_dataset
found = load_dataset("imagefolder", data_dir=sys.argv[1], cache_dir=sys.argv[2])
rows = [row for split in ("train", "test") for row in found[split]]
names = ("key", "label", "given_label")
print(json.dumps([[row[name] for name in names] + [row["image"].width] for row in rows]))
"""


def test_datasets_reads_the_folder_of_images(engine, tmp_path):
    project = build_hostile(engine, tmp_path / "media", "image")
    content = export_labels(engine, project.id, format="image-folder", media=tmp_path / "media")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(tmp_path / "images")
    answer = run_with("datasets", READ_FOLDER, tmp_path / "images", tmp_path / "cache")
    lines = export_labels(engine, project.id, format="jsonl").decode().split("\n")[:-1]
    expected = [
        [safe_cell(row[name]) for name in ("key", "label", "given_label")]
        + [20_000 if row["key"] == HOSTILE[3] else 6]
        for row in map(json.loads, lines)
        if not row["excluded"]
    ]
    assert sorted(json.loads(answer.splitlines()[-1])) == sorted(expected)


# The importer needs no database, which alone could hold what it reads.
READ_FIFTYONE = """
import json, sys
from fiftyone.utils.data.importers import FiftyOneImageClassificationDatasetImporter
reader = FiftyOneImageClassificationDatasetImporter
importer = reader(dataset_dir=sys.argv[1], compute_metadata=True)
found = []
with importer:
    for path, metadata, label in importer:
        size = [metadata.width, metadata.height]
        found.append([label["key"], label.label, label["given_label"], *size])
print(json.dumps(found))
"""


def test_fiftyone_reads_pictures_and_labels(engine, tmp_path):
    project = build_hostile(engine, tmp_path / "media", "image")
    content = export_labels(engine, project.id, format="fiftyone", media=tmp_path / "media")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(tmp_path / "data set")
    answer = run_with(
        "fiftyone",
        READ_FIFTYONE,
        tmp_path / "data set",
        FIFTYONE_DISABLE_SERVICES="1",
        FIFTYONE_DO_NOT_TRACK="1",
        HOME=str(tmp_path),
    )
    lines = export_labels(engine, project.id, format="jsonl").decode().split("\n")[:-1]
    kept = [row for row in map(json.loads, lines) if not row["excluded"]]
    expected = [
        [row[name] for name in ("key", "label", "given_label")]
        + [20_000 if row["key"] == HOSTILE[3] else 6, 4]
        for row in kept
    ]
    assert sorted(json.loads(answer.splitlines()[-1])) == sorted(expected)


def test_a_folder_of_images_has_the_corrected_labels(engine, tmp_path):
    scene = build_scene(engine, kind="image")
    for place in ("train", "test"):
        (tmp_path / "media" / place).mkdir(parents=True)
        for number in range(6):
            picture = tmp_path / "media" / place / f"{number}.png"
            picture.write_bytes(b"\x89PNG picture %d" % number)
    scene.decide(scene.train_ids[0], "relabel", new_label=2)
    scene.decide(scene.train_ids[1], "exclude")
    content = export_labels(
        engine, scene.project.id, format="image-folder", media=tmp_path / "media"
    )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        assert archive.read("train/emu/train-0.png") == b"\x89PNG picture 0"
    assert sorted(name for name in names if name.startswith("train/")) == [
        "train/cat/train-3.png",
        "train/dog/train-4.png",
        *(f"train/emu/train-{number}.png" for number in (0, 2, 5)),
        "train/metadata.csv",
    ]


LEARN = """
import pandas as pd, sys
from cleanlab.classification import CleanLearning
from sklearn.linear_model import LogisticRegression
frame = pd.read_parquet(sys.argv[1])
frame = frame[frame["split"] == "train"].reset_index(drop=True)
labels = frame["given_label"].astype("category").cat.codes.to_numpy()
inputs = frame[["label_score"]].to_numpy()
frame = frame.assign(given_label=labels)  # as numbers, which is how it is called with labels
learning = CleanLearning(LogisticRegression()).fit(inputs, labels, label_issues=frame)
print(int(learning.get_label_issues()["is_label_issue"].sum()))
"""


def test_a_cleanlab_frame_says_what_was_decided_or_predicted(engine, tmp_path):
    scene = build_scene(engine)
    scene.decide(scene.train_ids[0], "relabel", new_label=2)
    scene.decide(scene.train_ids[1], "keep")
    scene.decide(scene.train_ids[4], "exclude")
    path = tmp_path / "f.cleanlab.parquet"
    export_labels(engine, scene.project.id, format="cleanlab-parquet", path=path)
    rows = pq.read_table(path).to_pylist()
    # Train example p has the label p % 3 and is predicted as (p // 2) % 3.
    assert [row["is_label_issue"] for row in rows[:6]] == [True, False, True, True, True, False]
    assert [row["predicted_label"] for row in rows[:4]] == ["cat", "cat", "dog", "dog"]
    assert {row["label_score"] for row in rows} == {0.25}
    assert [row["label"] for row in rows[:2]] == ["emu", "dog"]
    assert run_with("cleanlab", LEARN, path).split()[-1] == "4"
