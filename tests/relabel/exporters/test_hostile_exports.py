"""Whatever an example is called: nothing leaves the archive, nothing runs, everything comes back.

Every exporter that is registered is tried with every kind of project that it can hold.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from pathlib import PurePosixPath, PureWindowsPath

import pyarrow.parquet as pq
import pytest

from relabel.archives import make_plain_name
from relabel.db.engine import open_database
from relabel.errors import WorkspaceError
from relabel.export import export_labels
from relabel.export.history import export_history
from relabel.exporters.csv import FORMULA_STARTS
from relabel.exporters.registry import EXPORTERS, OF_SOURCE
from tests.relabel.exporters.scenes import HOSTILE, TASKS, build_hostile
from tracin_core.errors import InputError


@pytest.fixture(scope="module")
def built(sqlite_template, tmp_path_factory):
    """One database with a project of each kind, which no test writes to, and their pictures."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copy(sqlite_template, folder / "reviews.db")
    engine = open_database(f"sqlite:///{folder / 'reviews.db'}")
    yield engine, {name: build_hostile(engine, folder / "media", name) for name in TASKS}, folder
    engine.dispose()


@pytest.fixture(params=TASKS)
def hostile(request, built):
    engine, projects, folder = built
    return engine, projects[request.param], folder / "media"


@pytest.mark.parametrize(
    "name", [one.name for one in EXPORTERS.values() if one.extension != OF_SOURCE]
)
def test_an_export_of_hostile_data_comes_back_whole(hostile, name):
    engine, project, media = hostile
    exporter = EXPORTERS[name]
    if not exporter.fits(project.kind, project.task):
        pytest.skip(f"{name} holds no {project.kind} examples for {project.task}")
    content = export_labels(engine, project.id, format=name, media=media, excluded="keep")
    again = export_labels(engine, project.id, format=name, media=media, excluded="keep")
    assert content == again
    assert read_keys(content, exporter.extension) == sorted(HOSTILE)
    dropped = export_labels(engine, project.id, format=name, media=media, excluded="drop")
    assert read_keys(dropped, exporter.extension) == sorted(HOSTILE[:-1])
    reviewed = export_labels(
        engine, project.id, format=name, media=media, reviewed_only=True, excluded="keep"
    )
    assert read_keys(reviewed, exporter.extension) == sorted(HOSTILE[10:])
    if exporter.extension.endswith("csv"):
        check_no_formulas(content)


def read_keys(content: bytes, extension: str) -> list[str]:
    """Return the keys of an export's examples, read as anybody would."""
    ending = extension.rsplit(".", 1)[-1]
    if ending == "csv":
        keys = [row["key"] for row in csv.DictReader(io.StringIO(content.decode(), newline=""))]
        return sorted(key.removeprefix("'") for key in keys)
    if ending == "parquet":
        return sorted(pq.read_table(io.BytesIO(content), columns=["key"])["key"].to_pylist())
    if ending == "jsonl":
        return sorted(json.loads(line)["key"] for line in content.decode().split("\n")[:-1])
    if ending == "json":
        return sorted(task["data"]["ref_id"] for task in json.loads(content))
    assert ending == "zip", f"say here how .{extension} is read back"
    return read_archive(content)


def read_archive(content: bytes) -> list[str]:
    """Return the keys of an archive's examples, no file of which lies or leads elsewhere."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        for name in names:
            parts = PurePosixPath(name).parts
            assert not name.startswith("/")
            assert parts == PureWindowsPath(name).parts
            stems = [part.removesuffix(".png") for part in parts]
            assert all(make_plain_name(stem) == stem for stem in stems)
        assert len({name.casefold() for name in names}) == len(names)
        if "labels.json" in names:
            labels = json.loads(archive.read("labels.json"))["labels"]
            assert {f"data/{one}.png" for one in labels} == set(names) - {"labels.json"}
            return sorted(one["attributes"]["key"] for one in labels.values())
        tables = {name for name in names if name.endswith("/metadata.csv")}
        rows, pictures = [], set()
        for table in tables:
            content = archive.read(table)
            check_no_formulas(content)
            found = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
            split = PurePosixPath(table).parent
            pictures |= {str(split / row["file_name"]) for row in found}
            rows += found
        assert pictures == set(names) - tables
        return sorted(row["key"].removeprefix("'") for row in rows)


def check_no_formulas(content: bytes) -> None:
    for row in csv.reader(io.StringIO(content.decode(), newline="")):
        for cell in row:
            is_number = cell[:1] == "-" and cell[1:].replace(".", "", 1).isdigit()
            assert is_number or not cell.startswith(FORMULA_STARTS)


@pytest.mark.parametrize("name", [one.name for one in EXPORTERS.values() if one.is_table])
def test_the_history_of_hostile_data_comes_back_whole(hostile, name):
    engine, project, _ = hostile
    content = export_history(engine, project.id, format=name)
    assert set(read_keys(content, EXPORTERS[name].extension)) == set(HOSTILE[10:])
    if name == "csv":
        check_no_formulas(content)


def test_a_picture_outside_of_the_project_is_not_read(built, tmp_path):
    engine, projects, folder = built
    project = projects["image"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "import-0001").symlink_to(folder / "media" / "import-0001")
    with pytest.raises(InputError, match="outside of the project's folder"):
        export_labels(engine, project.id, format="fiftyone", media=tmp_path / "b")
    with pytest.raises(WorkspaceError, match=r"cannot be read: No such file"):
        export_labels(engine, project.id, format="image-folder", media=tmp_path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(("..", "_"), ("con", "_con"), ("LPT1.txt", "_LPT1.txt"), ("", "_"), (" a. ", "a")),
        *(("a/b\\c:d", "a_b_c_d"), ("\0\n\u202e", "___"), ("é", "é"), ("x" * 500, "x" * 80)),
    ],
)
def test_a_plain_name_is_one_file_on_every_system(text, name):
    assert make_plain_name(text) == name
