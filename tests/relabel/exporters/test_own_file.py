"""A person's own file comes back: another label where somebody decided so, and nothing else."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import update

from relabel.db.engine import writing
from relabel.db.projects import get_project
from relabel.db.schema import ProjectRow
from relabel.errors import WorkspaceError
from relabel.exporters.csv import FORMULA_STARTS
from relabel.exporters.own.source import name_ending
from tests.relabel.importers.builders import image_folder, pets
from tracin_core.errors import ConfigurationError, InputError

ROWS = [
    ("it was good", "pos", "1", "=1+1"),
    ("it was bad", "neg", "2", "-2.5"),
    ('said "so; well"', "pos", "3", "x"),
    ("two\nlines; and", "neg", "4", "y"),
    ("it was fine", "pos", "5", "z"),
    ("it was poor", "neg", "6", ""),
]
WORDS = "it was good", "neg"
FORMS = {
    "plain": {"sep": ",", "end": "\n", "quoting": csv.QUOTE_MINIMAL, "encoding": "utf-8"},
    "excel": {"sep": ";", "end": "\r\n", "quoting": csv.QUOTE_MINIMAL, "encoding": "utf-8-sig"},
    "all in quotes": {"sep": "\t", "end": "\r\n", "quoting": csv.QUOTE_ALL, "encoding": "cp1252"},
    "wide": {"sep": ",", "end": "\n", "quoting": csv.QUOTE_NONNUMERIC, "encoding": "utf-16"},
    "old macintosh": {"sep": "|", "end": "\r", "quoting": csv.QUOTE_MINIMAL, "encoding": "utf-8"},
}


def write_csv(path, rows=ROWS, *, sep=",", end="\n", quoting=csv.QUOTE_MINIMAL, encoding="utf-8"):
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, delimiter=sep, lineterminator=end, quoting=quoting)
    writer.writerow(["Text", "Stars é", "id", "extra"])
    writer.writerows(rows)
    data = lines.getvalue()
    if end == "\r":
        data = data.replace("two\nlines", "two lines")
    path.write_bytes(data.encode(encoding))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_table_of_text_differs_in_the_label_alone(imported, tmp_path, form):
    path = write_csv(tmp_path / "reviews.csv", **FORMS[form])
    imported.bring(path, text="Text", label="Stars é")
    assert imported.export() == path.read_bytes()
    imported.relabel(*WORDS)
    encoding = FORMS[form]["encoding"]
    was, now = (data.decode(encoding) for data in (path.read_bytes(), imported.export()))
    at = was.index("it was good")
    assert now == was[:at] + was[at:].replace("pos", "neg", 1)
    assert imported.notes == ["reviews.csv: 1 row with another label."]


def test_backslashes_blanks_and_rows_of_other_widths_stay(imported, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text(
        'id, text, label\n1, "a \\"good\\" one", "pos"\n2, "a bad one, really", "neg"\n\n'
        '3, too, many, fields\n4, "fine \\\\ well", "pos"\n5, "poor", "neg"\n'
    )
    imported.bring(path, text="text", label="label")
    assert imported.export() == path.read_bytes()
    imported.relabel("a bad one, really", "pos")
    changed = path.read_text().replace('really", "neg"', 'really", "pos"')
    assert imported.export().decode() == changed


def test_every_row_of_a_text_that_comes_again_gets_its_label(imported, tmp_path):
    path = write_csv(tmp_path / "twice.csv", [*ROWS, ("it was good", "pos", "7", "")])
    imported.bring(path, text="Text", label="Stars é")
    imported.relabel(*WORDS)
    assert imported.export().decode().count("it was good,neg") == 2


def test_labels_that_are_numbers_stay_numbers(imported, tmp_path):
    path = write_csv(tmp_path / "n.csv", [(t, "01"[x == "pos"], n, e) for t, x, n, e in ROWS])
    imported.bring(path, text="Text", label="Stars é", classes=("bad", "good", "other"))
    imported.relabel("it was good", "other")
    assert "it was good,2,1" in imported.export().decode()


def test_numbers_are_written_as_the_file_writes_them(imported, tmp_path):
    path = tmp_path / "homes.csv"
    path.write_text("rooms;price\n" + "".join(f"{n};{n}.000,50\n" for n in range(1, 30)))
    imported.bring(path, target="price")
    view = imported.find(lambda one: one.given_value == 3000.5)
    imported.decide(view, "relabel", new_value=4000.25)
    was = path.read_text()
    assert imported.export().decode() == was.replace("3;3.000,50", "3;4000,25")


def test_excluded_and_unreviewed_rows_are_left_out_where_that_is_wanted(imported, tmp_path):
    path = write_csv(tmp_path / "reviews.csv")
    imported.bring(path, text="Text", label="Stars é")
    imported.relabel(*WORDS)
    imported.decide(imported.find(lambda one: one.text == "it was bad"), "exclude")
    dropped = imported.export(excluded="drop").decode()
    assert "it was bad" not in dropped
    assert len(dropped) > 100
    reviewed = list(csv.reader(io.StringIO(imported.export(reviewed_only=True).decode())))
    assert [row[0] for row in reviewed] == ["Text", "it was good", "it was bad"]
    assert imported.notes == ["reviews.csv: 1 row with another label, 4 left out."]


def test_what_was_decided_stands_beside_it(imported, tmp_path):
    rows = [(text, label, number, "=x") for text, label, number, _ in ROWS]
    path = write_csv(tmp_path / "reviews.csv", rows, sep=";", end="\r\n")
    path.write_text(path.read_text().replace(";extra", ";note"), newline="")
    imported.bring(path, text="Text", label="Stars é")
    imported.relabel(*WORDS, note="=cmd", reviewer="Zoë")
    content = imported.export(beside=True).decode()
    table = list(csv.DictReader(io.StringIO(content, newline=""), delimiter=";"))
    assert list(table[0])[:5] == ["Text", "Stars é", "id", "note", "given_label"]
    assert (table[0]["given_label"], table[0]["Stars é"], table[0]["note"]) == ("pos", "neg", "=x")
    assert (table[0]["decision"], table[0]["reviewer"]) == ("relabel", "Zoë")
    assert table[0]["relabel_note"] == "'=cmd"
    assert {row["decision"] for row in table[1:]} == {""}
    protected = imported.export(beside=True, protects=True).decode()
    cells = [cell for row in csv.reader(io.StringIO(protected), delimiter=";") for cell in row]
    assert not [cell for cell in cells if cell.startswith(FORMULA_STARTS)]


def test_numbers_are_not_protected(imported, tmp_path):
    path = write_csv(tmp_path / "reviews.csv")
    imported.bring(path, text="Text", label="Stars é")
    assert imported.export(protects=True).decode() == path.read_text().replace("=1+1", "'=1+1")


def test_a_packed_table_comes_back_packed(imported, tmp_path):
    plain = write_csv(tmp_path / "reviews.csv")
    path = tmp_path / "reviews.csv.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()))
    imported.bring(path, text="Text", label="Stars é")
    assert gzip.decompress(imported.export()) == plain.read_bytes()


LINES = (
    '{"text": "it was good", "meta": {"label" : "pos", "n": 1.0}}\n'
    '{"meta":{"label":"neg"},"text":"it \\u00e9 was bad"}\r\n\n'
    'no json\n{"text": "it was fine", "meta": {"label": "pos"}}\n'
    '{"text": "it was poor", "meta": {"label": "neg"}}'
)


def test_json_lines_differ_in_the_label_alone(imported, tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_text(LINES, newline="")
    imported.bring(path, text="text", label="meta.label")
    assert imported.export().decode() == LINES
    imported.relabel(*WORDS)
    assert imported.export().decode() == LINES.replace('"label" : "pos"', '"label" : "neg"')
    beside = json.loads(imported.export(beside=True).decode().splitlines()[0])
    assert (beside["given_label"], beside["decision"], beside["meta"]["n"]) == ("pos", "relabel", 1)


def test_an_array_of_objects_differs_in_the_label_alone(imported, tmp_path):
    path = tmp_path / "reviews.json"
    path.write_text(json.dumps([{"t": t, "l": x} for t, x, *_ in ROWS], indent=1))
    imported.bring(path, text="t", label="l")
    imported.relabel(*WORDS)
    assert imported.export().decode() == path.read_text().replace('"pos"', '"neg"', 1)
    with pytest.raises(InputError, match="an array, out of which"):
        imported.export(reviewed_only=True)


@pytest.mark.parametrize("kind", ["text", "shared", "numbers"])
def test_a_parquet_file_differs_in_the_label_alone(imported, tmp_path, kind):
    labels = [int(row[1] == "pos") if kind == "numbers" else row[1] for row in ROWS]
    column = pa.array(labels).dictionary_encode() if kind == "shared" else pa.array(labels)
    table = pa.table(
        {"text": [row[0] for row in ROWS], "label": column, "when": pa.array([7] * 6, pa.int8())}
    ).replace_schema_metadata({"of": "mine"})
    pq.write_table(table, tmp_path / "reviews.parquet", row_group_size=4, compression="zstd")
    options = {"classes": ("bad", "good")} if kind == "numbers" else {}
    imported.bring(tmp_path / "reviews.parquet", text="text", label="label", **options)
    imported.relabel("it was good", "bad" if kind == "numbers" else "neg")
    found = pq.ParquetFile(io.BytesIO(imported.export()))
    assert (found.num_row_groups, found.schema_arrow.metadata[b"of"]) == (2, b"mine")
    back = found.read()
    assert back.schema.equals(table.schema)
    assert back.drop(["label"]).equals(table.drop(["label"]))
    assert back["label"].to_pylist() == [0 if kind == "numbers" else "neg", *labels[1:]]
    assert pq.read_table(io.BytesIO(imported.export(reviewed_only=True))).num_rows == 1


@pytest.mark.parametrize("names", [("a", "b"), ("train-00000-of-00001", "test-00000-of-00001")])
def test_several_parquet_files_come_back_as_several(imported, tmp_path, names):
    folder = tmp_path / "reviews"
    folder.mkdir()
    halves = {}
    for name, rows in zip(names, (ROWS[:4], ROWS[2:]), strict=True):
        table = pa.table(
            {"text": [f"{name} {text}" for text, *_ in rows], "label": [one[1] for one in rows]}
        )
        halves[f"{name}.parquet"] = table
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=3, compression="gzip")
    imported.bring(folder, text="text", label="label")
    imported.relabel(f"{names[1]} it was poor", "pos")
    content = imported.export()
    assert content == imported.export()
    assert imported.notes == ["2 files of reviews: 1 row with another label."]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        back = {name: pq.ParquetFile(io.BytesIO(archive.read(name))) for name in halves}
        assert sorted(archive.namelist()) == sorted(halves)
    for name, table in halves.items():
        found = back[name].read()
        assert back[name].num_row_groups == 2
        assert found.schema.equals(table.schema)
        assert found.drop(["label"]).equals(table.drop(["label"]))
        changed = ["pos"] if name.startswith(names[1]) else table["label"].to_pylist()[-1:]
        assert found["label"].to_pylist() == [*table["label"].to_pylist()[:-1], *changed]
    settings = get_project(imported.engine, "mine").settings
    assert name_ending(settings, None) == "zip"
    # One of them has changed, in its text alone.
    pq.write_table(halves[f"{names[0]}.parquet"], folder / f"{names[0]}.parquet")
    with pytest.raises(WorkspaceError, match=r"reviews is not what was imported"):
        imported.export()


def test_a_table_of_pictures_needs_no_pictures_any_more(imported, tmp_path):
    names = pets(each=4)
    root = image_folder(tmp_path / "pets", names)
    rows = [f"{name},{name.split('/')[0]}" for name in names]
    (root / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    imported.bring(root / "labels.csv", image="file", label="label")
    imported.decide(imported.find(lambda one: one.source_place.endswith("row 2")), "relabel", "dog")
    for name in names:
        (root / name).unlink()
    was = (root / "labels.csv").read_text()
    assert imported.export().decode() == was.replace(f"{names[0]},cat", f"{names[0]},dog")


def test_a_file_that_is_gone_or_another_one_is_told_with_the_way_out(imported, tmp_path):
    path = write_csv(tmp_path / "reviews.csv")
    imported.bring(path, text="Text", label="Stars é")
    copy = path.rename(tmp_path / "moved.csv")
    with pytest.raises(WorkspaceError, match=r"reviews\.csv is gone\. .*--source"):
        imported.export()
    assert imported.export(path=copy) == copy.read_bytes()
    copy.write_text(copy.read_text().replace("poor", "rich"))
    with pytest.raises(WorkspaceError, match=r"not what was imported.*relabel decisions"):
        imported.export(path=copy)


def test_an_older_project_recognises_its_file_by_its_examples(imported, tmp_path):
    path = write_csv(tmp_path / "reviews.csv")
    imported.bring(path, text="Text", label="Stars é")
    settings = dict(get_project(imported.engine, "mine").settings)
    entry = {n: v for n, v in settings["imports"][0].items() if n not in ("file", "options")}
    with writing(imported.engine) as connection:
        connection.execute(update(ProjectRow).values(settings=settings | {"imports": [entry]}))
    imported.relabel(*WORDS)
    assert b"it was good,neg" in imported.export()
    assert "kept no digest of the file, so 6 of 6 examples" in imported.notes[0]
    path.write_text(path.read_text().replace("it was poor", "it was rich"))
    with pytest.raises(InputError, match="has 5 of the project's 6 examples"):
        imported.export()


def test_a_project_of_several_files_gives_each_of_them_back(imported, tmp_path):
    first = write_csv(tmp_path / "a.csv")
    imported.bring(first, text="Text", label="Stars é")
    second = write_csv(tmp_path / "b.csv", [("a new one", "neg", "8", "")])
    imported.bring(second)
    with pytest.raises(ConfigurationError, match=r"2 files.*--import-number.*a\.csv; 2 .*b\.csv"):
        imported.export()
    imported.relabel("a new one", "pos")
    assert imported.export(number=1) == first.read_bytes()
    assert imported.export(number=2).decode() == second.read_text().replace("neg", "pos")


def test_what_has_no_file_is_told(imported, tmp_path):
    imported.bring(image_folder(tmp_path / "pets", pets()))
    with pytest.raises(ConfigurationError, match="labels stand in no table"):
        imported.export()
