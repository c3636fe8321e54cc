"""What was imported leads back to the person's own files and rows."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import update

from relabel.cli import main
from relabel.db.bulk import lacks_places
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import writing
from relabel.db.examples import LONGEST_PLACE
from relabel.db.projects import get_project
from relabel.db.schema import ExampleRow
from relabel.export import export_labels
from relabel.importers.ingest import project
from tests.relabel.importers.builders import (
    image_folder,
    make_tar,
    make_zip,
    pets,
    picture,
    read,
    texts,
)
from tests.relabel.importers.ingest.test_importing import engine as engine
from tests.relabel.importers.ingest.test_importing import own as own
from tests.relabel.importers.ingest.test_importing import run, views


def places(engine, slug="mine") -> list[str | None]:
    return [v.source_place for split in ("train", "test") for v in views(engine, slug, split)]


def export(engine, slug="mine") -> list[dict[str, str]]:
    content = export_labels(engine, get_project(engine, slug).id, format="csv")
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def forget_places(engine) -> None:
    """Leave a project as one that was imported before places were kept."""
    with writing(engine) as connection:
        connection.execute(update(ExampleRow).values(source_place=None))


def test_the_export_of_a_folder_names_its_files(engine, own, tmp_path):
    names = [*pets(), "cat/im 3.JPG", "dog/=1+1.png", "dog/é 🐈/x.png"]
    root = image_folder(tmp_path / "pets", names)
    run(engine, own, root)
    rows = export(engine)
    assert {row["source_place"] for row in rows} == set(names)
    for row in rows:
        copied = own.media_folder("mine") / row["media_path"]
        assert copied.read_bytes() == (root / row["source_place"]).read_bytes()
        assert row["given_label"] == row["source_place"].split("/")[0]


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_the_files_of_an_archive_are_named_as_in_it(engine, own, tmp_path, make):
    members = {f"download/{name}": picture(number) for number, name in enumerate(pets())}
    run(engine, own, make(tmp_path / "pets.archive", members))
    assert set(places(engine)) == set(members)


def test_the_export_of_a_table_names_its_rows_as_a_spreadsheet_does(engine, own, tmp_path):
    extra = ',good\n"two\nlines",bad\nthe text of number 7 is this,good\nthe last,good\n'
    path = texts(tmp_path / "reviews.csv", 1400, extra=extra)
    report = run(engine, own, path)
    assert "row 1,402" in {problem.where for problem in report.refused}
    by_text = {row["text"]: row["source_place"] for row in export(engine)}
    assert by_text["the text of number 0 is this"] == "reviews.csv, row 2"
    assert by_text["the text of number 1232 is this"] == "reviews.csv, row 1234"
    assert by_text["the last"] == "reviews.csv, row 1405"
    assert len(set(by_text.values())) == len(by_text)


def test_a_table_in_an_archive_and_json_lines_keep_their_names(tmp_path):
    data = texts(tmp_path / "reviews.csv").read_bytes()
    packed = make_zip(tmp_path / "download.zip", {"all/reviews.csv": data})
    assert read(packed)[0].place == "reviews.csv, row 2"
    lines = "".join(
        json.dumps({"text": f"the text {n} of them", "label": "ab"[n % 2]}) + "\n"
        for n in range(30)
    )
    (tmp_path / "said.jsonl").write_text(lines)
    assert read(tmp_path / "said.jsonl")[4].place == "said.jsonl, row 5"


def text_table(first: int) -> pa.Table:
    numbers = range(first, first + 10)
    return pa.table({"text": [f"the text {n} of them" for n in numbers], "label": ["a", "b"] * 5})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["all.parquet"], "all.parquet, row 3"),
        (["part0.parquet", "part1.parquet"], "part1.parquet, row 3"),
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"], "train[12]"),
        (["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"], "train[2]"),
    ],
)
def test_rows_of_several_files_are_counted_where_a_person_does(tmp_path, names, expected):
    folder = tmp_path / "saved"
    folder.mkdir()
    for number, name in enumerate(names):
        pq.write_table(text_table(10 * number), folder / name)
    wanted = f"the text {10 * len(names) - 8} of them"
    assert [one.place for one in read(folder) if one.text == wanted] == [expected]


def test_a_saved_data_set_without_splits_is_named_by_its_folder_or_archive(tmp_path):
    folder = tmp_path / "kettles"
    folder.mkdir()
    with pa.OSFile(str(folder / "data-0.arrow"), "wb") as file:
        table = text_table(0)
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    state = {"_data_files": [{"filename": "data-0.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    assert read(folder)[2].place == "kettles, row 3"
    members = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert read(make_zip(tmp_path / "pots.zip", members))[2].place == "pots.zip, row 3"


def test_rows_of_arrays_are_named_by_array_and_position(engine, own, tmp_path):
    x = np.arange(1, 41).reshape(20, 2) / 7
    y = np.arange(20) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=-x, y_test=y)
    run(engine, own, tmp_path / "a.npz")
    assert places(engine) == [f"x_{s}[{n}]" for s in ("train", "test") for n in range(20)]


def test_growth_places_what_is_new_and_leaves_what_is_known(engine, own, tmp_path):
    run(engine, own, texts(tmp_path / "june.csv", 30))
    before = places(engine)
    run(engine, own, texts(tmp_path / "july.csv", 40))
    after = places(engine)
    assert set(before) < set(after)
    assert sorted(set(after) - set(before)) == [f"july.csv, row {n}" for n in range(32, 42)]


def test_places_that_were_not_kept_are_filled_in_when_the_data_comes_again(
    engine, own, tmp_path, monkeypatch
):
    monkeypatch.setattr(project, "_CHUNK", 7)
    path = texts(tmp_path / "reviews.csv", 40)
    run(engine, own, path)
    expected = places(engine)
    example = views(engine)[3]
    record_decision(
        engine,
        NewDecision(example_id=example.id, expected_version=0, reviewer="ann", action="keep"),
    )
    forget_places(engine)
    assert lacks_places(engine, get_project(engine, "mine").id)
    told = []
    report = run(engine, own, path, on_progress=told.append)
    assert sum(report.added.values()) == 0
    assert places(engine) == expected
    assert views(engine)[3].version == 1
    assert (told[-1].stage, told[-1].done, told[-1].total) == (project.PLACING, 40, 40)
    assert not lacks_places(engine, get_project(engine, "mine").id)


def test_who_cancels_the_filling_in_has_added_nothing_and_can_go_on(engine, own, tmp_path):
    run(engine, own, texts(tmp_path / "reviews.csv", 30))
    expected = places(engine)
    forget_places(engine)
    path = texts(tmp_path / "reviews.csv", 40)

    def cancel(progress):
        if progress.stage == project.PLACING:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(engine, own, path, on_progress=cancel)
    assert len(places(engine)) == 30
    assert run(engine, own, path).skipped_known == 30
    assert set(expected) < set(places(engine))
    assert len(places(engine)) == 40


def test_of_a_picture_in_both_splits_the_place_is_that_of_the_one_that_was_kept(
    engine, own, tmp_path
):
    root = image_folder(tmp_path / "pets", pets("test", "train"))
    shutil.copy(root / "train/cat/0.png", root / "test/cat/again.png")
    run(engine, own, root)
    expected = places(engine)
    assert "train/cat/0.png" in expected
    forget_places(engine)
    run(engine, own, root)
    assert places(engine) == expected


def test_of_a_long_path_the_end_is_kept(engine, own, tmp_path):
    name = "cat/" + "/".join(["folder " + "n" * 200] * 6) + "/last.png"
    members = {path: picture(number) for number, path in enumerate([*pets(), name])}
    run(engine, own, make_zip(tmp_path / "pets.zip", members))
    (found,) = (place for place in places(engine) if "last" in place)
    assert len(found) == LONGEST_PLACE
    assert found == "…" + name[1 - LONGEST_PLACE :]


def test_a_name_that_is_no_unicode_is_escaped(engine, own, tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    (root / "cat" / "caf\udce9.png").write_bytes(picture(90))
    run(engine, own, root)
    assert "cat/caf\\udce9.png" in places(engine)


def test_a_column_of_the_data_that_is_called_so_stays_in_the_export(engine, own, tmp_path):
    data = pd.DataFrame({"size": [n / 7 for n in range(40)], "source_place": ["here", "b"] * 20})
    data.assign(label=["x", "x", "y", "y"] * 10).to_csv(tmp_path / "d.csv", index=False)
    run(engine, own, tmp_path / "d.csv", features=("size", "source_place"), label="label")
    row = export(engine)[0]
    assert row["source_place"].startswith("d.csv, row ")
    assert row["field_source_place"] in {"here", "b"}


def test_the_command_exports_what_was_imported(tmp_path):
    root = image_folder(tmp_path / "pets", pets(each=4))
    place = ["--workspace", str(tmp_path / "workspace")]
    assert main([*place, "import", "pets", str(root), "--yes"]) == 0
    target = tmp_path / "corrected.jsonl"
    assert main([*place, "export", "pets", "--format", "jsonl", "-o", str(target)]) == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert {row["source_place"] for row in rows} == set(pets(each=4))
