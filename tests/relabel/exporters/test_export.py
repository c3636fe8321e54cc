"""Corrected labels as files."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from relabel.db.examples import LONGEST_PLACE, NewExample, add_examples
from relabel.db.projects import create_project
from relabel.errors import NotFoundError, WorkspaceError
from relabel.export import export_labels
from tests.relabel.db.builders import build_scene
from tracin_core.errors import ConfigurationError, InputError

COLUMNS = [
    "key",
    "split",
    "text",
    "given_label",
    "label",
    "status",
    "excluded",
    "action",
    "note",
    "reviewer",
    "decided_at",
    "version",
    "source_place",
]


def read(content: bytes, format: str) -> list[dict]:
    if format == "parquet":
        return pq.read_table(io.BytesIO(content)).to_pylist()
    if format == "jsonl":
        # Not splitlines(), for which a text's U+2028 or U+0085 would end a line as well.
        return [json.loads(line) for line in content.decode().split("\n")[:-1]]
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_every_example_is_there_with_its_current_label(scene, format):
    made = scene.decide(scene.train_ids[1], "relabel", new_label=2, note="ears\n👂")
    scene.decide(scene.train_ids[2], "exclude", reviewer="bob")
    rows = read(export_labels(scene.engine, scene.project.id, format=format), format)
    assert [row["key"] for row in rows] == [f"train-{n}" for n in range(6)] + [
        f"test-{n}" for n in range(3)
    ]
    assert list(rows[0]) == COLUMNS
    assert rows[0] == dict.fromkeys(COLUMNS) | {
        "key": "train-0",
        "split": "train",
        "text": "text 0 of train",
        "given_label": "cat",
        "label": "cat",
        "status": "pending",
        "excluded": False,
        "version": 0,
    }
    changed = rows[1]
    assert (changed["given_label"], changed["label"], changed["status"]) == (
        "dog",
        "emu",
        "relabeled",
    )
    assert (changed["action"], changed["note"], changed["reviewer"]) == (
        "relabel",
        "ears\n👂",
        "ann",
    )
    assert (changed["version"], changed["excluded"]) == (1, False)
    decided_at = datetime.fromisoformat(changed["decided_at"])
    assert decided_at == made.created_at
    assert decided_at.tzinfo == UTC
    assert (rows[2]["excluded"], rows[2]["label"], rows[2]["reviewer"]) == (True, "emu", "bob")


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_reviewed_only_leaves_out_pending_and_skipped(scene, format):
    scene.decide(scene.train_ids[5], "keep")
    scene.decide(scene.train_ids[4], "skip")
    content = export_labels(scene.engine, scene.project.id, format=format, reviewed_only=True)
    assert [row["key"] for row in read(content, format)] == ["train-5"]


@pytest.mark.sqlite_only
@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_an_export_of_nothing_is_an_empty_table(scene, format):
    content = export_labels(scene.engine, scene.project.id, format=format, reviewed_only=True)
    assert read(content, format) == []
    if format == "csv":
        assert content.decode().strip().split(",") == COLUMNS
    if format == "parquet":
        assert pq.read_table(io.BytesIO(content)).schema.names == COLUMNS


def test_an_image_project_has_paths(engine):
    scene = build_scene(engine, kind="image")
    rows = read(export_labels(engine, scene.project.id, format="jsonl"), "jsonl")
    assert rows[0]["media_path"] == "train/0.png"
    assert rows[0]["source_place"] == "train/im 0.JPG"
    assert "text" not in rows[0]


DANGEROUS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"]
HARMLESS = ["", "a=1", " =1", "'quoted", 'say "hi", now', "line\nbreak", "日本語 👂", "null", "1"]


@pytest.fixture
def odd_texts(engine):
    project = create_project(engine, slug="odd", title="Odd", kind="text", classes=["=a", "-b"])
    rows = [
        NewExample(f"@key{n}", "train", n, n % 2, text=text, source_place=text or None)
        for n, text in enumerate(DANGEROUS + HARMLESS)
    ]
    add_examples(engine, project.id, rows)
    return project


@pytest.mark.sqlite_only
def test_no_csv_cell_is_a_formula(engine, odd_texts):
    rows = read(export_labels(engine, odd_texts.id, format="csv"), "csv")
    assert [row["text"] for row in rows] == [f"'{text}" for text in DANGEROUS] + HARMLESS
    assert {row["given_label"] for row in rows} == {"'=a", "'-b"}
    assert rows[0]["key"] == "'@key0"
    assert [row["source_place"] for row in rows] == [row["text"] for row in rows]
    for row in rows:
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())


@pytest.mark.sqlite_only
def test_a_csv_note_is_no_formula_either(scene):
    scene.decide(scene.train_ids[0], note='=HYPERLINK("http://x")', reviewer="@ann")
    row = read(export_labels(scene.engine, scene.project.id, format="csv"), "csv")[0]
    assert (row["note"], row["reviewer"]) == ('\'=HYPERLINK("http://x")', "'@ann")
    assert (row["excluded"], row["version"]) == ("false", "1")


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_the_other_formats_keep_every_character(engine, odd_texts, format):
    rows = read(export_labels(engine, odd_texts.id, format=format), format)
    assert [row["text"] for row in rows] == DANGEROUS + HARMLESS
    assert {row["label"] for row in rows} == {"=a", "-b"}
    assert [row["source_place"] or "" for row in rows] == DANGEROUS + HARMLESS


@pytest.mark.sqlite_only
@pytest.mark.parametrize("place", ["a\0b", "caf\udce9", "x" * (LONGEST_PLACE + 1)])
def test_a_place_that_no_database_or_person_could_hold_is_refused(engine, place):
    project = create_project(engine, slug="odd", title="Odd", kind="text", classes=["a", "b"])
    with pytest.raises(InputError, match=r"NUL character or a broken|1,001 characters"):
        add_examples(engine, project.id, [NewExample("k", "train", 0, source_place=place)])


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_large_export_comes_in_chunks(engine, format):
    scene = build_scene(engine, 5100, 10)
    rows = read(export_labels(engine, scene.project.id, format=format), format)
    assert len({row["key"] for row in rows}) == 5110
    assert rows[5099]["key"] == "train-5099"


@pytest.mark.sqlite_only
def test_a_file_replaces_the_old_one_at_once(scene, tmp_path):
    path = tmp_path / "new folder" / "labels.csv"
    assert export_labels(scene.engine, scene.project.id, format="csv", path=path) == path
    first = path.read_bytes()
    assert first == export_labels(scene.engine, scene.project.id, format="csv")
    scene.decide(scene.train_ids[0])
    export_labels(scene.engine, scene.project.id, format="csv", path=str(path))
    assert path.read_bytes() != first
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o400


LIMITED = """
import resource, sys
sys.dont_write_bytecode = True  # a module cut off at the limit would stay
from pathlib import Path
from relabel.errors import WorkspaceError
from relabel.db.engine import open_database
from relabel.export import export_labels
engine = open_database(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    export_labels(engine, 1, format=sys.argv[3], path=sys.argv[2])
except WorkspaceError as error:
    print(error)
"""


@pytest.mark.sqlite_only
@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_disk_that_fills_up_is_told_and_the_old_file_stays(
    preloaded, engine, database_url, tmp_path, format
):
    # A limit on the size of files makes writing fail half-way, as a full disk does.
    build_scene(engine, 6000)
    path = tmp_path / "out" / "labels"
    path.parent.mkdir()
    path.write_text("the old file")
    done = preloaded.run("-c", LIMITED, database_url, str(path), format)
    assert (done.stderr, done.returncode) == ("", 0)
    assert f"The file {path} cannot be written" in done.stdout
    assert path.read_text() == "the old file"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.sqlite_only
def test_a_place_that_cannot_be_written_is_told(scene, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "labels.csv", tmp_path):
        with pytest.raises(WorkspaceError, match="cannot be written"):
            export_labels(scene.engine, scene.project.id, format="csv", path=path)
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith(".")) == []


@pytest.mark.sqlite_only
def test_an_unknown_format_or_project_is_told(scene):
    with pytest.raises(
        ConfigurationError, match=r"'xlsx'. Expected one of csv, parquet, jsonl, own"
    ):
        export_labels(scene.engine, scene.project.id, format="xlsx")
    with pytest.raises(NotFoundError):
        export_labels(scene.engine, 999, format="csv")
