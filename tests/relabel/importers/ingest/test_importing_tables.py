"""Imports of tables without names and of joined texts, and how they are recalled."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pandas as pd
import pytest

from relabel.db.projects import get_project
from relabel.importers.ingest.growth import describe_other_texts, recall_options
from relabel.importers.options import ImportOptions
from tests.relabel.importers.builders import make_tar, picture, texts
from tests.relabel.importers.ingest.test_importing import command, run, views
from tests.relabel.importers.ingest.test_importing import engine as engine
from tests.relabel.importers.ingest.test_importing import own as own
from tracin_core.errors import InputError

NAMES = ("class", "title", "description")


def news(path, numbers=range(20), header: str = ""):
    rows = [f'"{1 + n % 2}","story {n}","the words of {n}, all of them"\n' for n in numbers]
    path.write_text(header + "".join(rows))
    return path


def all_texts(engine) -> set[str]:
    return {view.text for split in ("train", "test") for view in views(engine, split=split)}


def test_the_command_names_columns_and_joins_texts(own, engine, tmp_path, capsys):
    words = ("--columns", ",".join(NAMES), "--text", "title,description", "--yes")
    assert command(own, "mine", str(news(tmp_path / "train.csv")), *words) == 0
    assert "table, text, classification: class" in capsys.readouterr().out
    assert "story 0\n\nthe words of 0, all of them" in all_texts(engine)
    assert len(all_texts(engine)) == 20
    kept = get_project(engine, "mine").settings["options"]
    assert (kept["columns"], kept["text"]) == (list(NAMES), ["title", "description"])


def test_a_name_with_a_comma_is_quoted_in_the_terminal(own, engine, tmp_path):
    path = news(tmp_path / "d.csv", header='class,"title, or so",description\n')
    assert command(own, "mine", str(path), "--text", 'description,"title, or so"') == 0
    assert "the words of 0, all of them\n\nstory 0" in all_texts(engine)


def test_names_that_do_not_fit_are_told_and_nothing_is_written(own, engine, tmp_path, capsys):
    path = news(tmp_path / "d.csv")
    assert command(own, "mine", str(path), "--columns", "class,text") == 2
    assert "Found 2 names for the 3 columns" in capsys.readouterr().err
    assert command(own, "mine", str(path), "--columns", "a,a,b") == 2
    assert "'a' twice" in capsys.readouterr().err
    assert command(own, "mine", str(path)) == 2
    assert "name its 3 columns in their order with --columns" in capsys.readouterr().err


def test_names_and_joined_texts_are_recalled(engine, own, tmp_path):
    said = {"columns": NAMES, "text": ("title", "description"), "label": "class"}
    run(engine, own, news(tmp_path / "d.csv"), **said)
    report = run(engine, own, news(tmp_path / "more.csv", range(10, 30)))
    assert (report.skipped_known, sum(report.added.values())) == (10, 10)
    named = news(tmp_path / "named.csv", range(20, 40), header="Class,Title,Description\n")
    report = run(engine, own, named)
    assert (report.skipped_known, sum(report.added.values())) == (10, 10)
    data = pd.read_csv(named).rename(columns=str.lower)
    data.to_parquet(tmp_path / "same.parquet")
    report = run(engine, own, tmp_path / "same.parquet")
    assert (report.skipped_known, sum(report.added.values())) == (20, 0)
    with pytest.raises(InputError, match="no columns without names"):
        run(engine, own, tmp_path / "same.parquet", columns=NAMES)


def test_the_options_of_an_older_project_are_recalled_as_they_are(engine, own, tmp_path):
    run(engine, own, texts(tmp_path / "t.csv"))
    project = get_project(engine, "mine")
    assert project.settings["options"]["text"] == "text"
    recalled = recall_options(project, ImportOptions())
    assert (recalled.text, recalled.columns) == ("text", None)
    report = run(engine, own, texts(tmp_path / "t.csv"), text="text")
    assert report.skipped_known == 40


@pytest.mark.parametrize("first", [0, 1])
def test_from_where_labels_are_counted_is_recalled(engine, own, tmp_path, first):
    names = ("world", "sports", "business")

    def save(name: str, numbers, labels):
        data = pd.DataFrame({"text": [f"the text of number {n}" for n in numbers]})
        data.assign(label=labels).to_csv(tmp_path / name, index=False)
        return tmp_path / name

    labels = [first + n % 3 for n in range(12)]
    run(engine, own, save("june.csv", range(12), labels), classes=names)
    later = [1, 2]  # which alone do not show it
    run(engine, own, save("july.csv", range(12, 12 + len(later)), later))
    found = {
        view.text: names[view.given_label]
        for split in ("train", "test")
        for view in views(engine, split=split)
    }
    for number, label in enumerate([*labels, *later]):
        assert found[f"the text of number {number}"] == names[label - first]


def test_the_labels_of_an_older_project_are_counted_from_0(engine, own, tmp_path):
    run(engine, own, texts(tmp_path / "t.csv"), classes=("bad", "good"))
    project = get_project(engine, "mine")
    del_first = {k: v for k, v in project.settings["options"].items() if k != "first_class"}
    older = replace(project, settings={**project.settings, "options": del_first})
    assert recall_options(older, ImportOptions()).first_class == 0
    assert recall_options(older, ImportOptions(first_class=1)).first_class == 1


def test_texts_of_more_or_fewer_columns_are_told(engine, own, tmp_path):
    said = {"columns": NAMES, "text": ("title", "description"), "label": "class"}
    run(engine, own, news(tmp_path / "d.csv"), **said)
    project = get_project(engine, "mine")
    told = describe_other_texts(project, ImportOptions(text="title"))
    assert "the columns 'title', 'description'" in told
    assert "the column 'title'" in told
    assert describe_other_texts(project, ImportOptions(text=("a", "b"))) == ""
    assert describe_other_texts(project, ImportOptions(features=("a",))) == ""


def save(path, labels, first=0, **columns):
    rows = range(first, first + len(labels))
    data = pd.DataFrame({"text": [f"the text of number {n}" for n in rows], "label": labels})
    data.assign(**columns).to_csv(path, index=False)
    return path


def test_spellings_of_known_classes_are_told_and_merged_as_before(engine, own, tmp_path, capsys):
    june = save(tmp_path / "june.csv", ["good", "Good", "bad"] * 8)
    july = save(tmp_path / "july.csv", ["GOOD", "bad\u200b"] * 8, first=24)
    command(own, "mine", str(june), "--merge-twins", "--yes")
    assert get_project(engine, "mine").classes == ("bad", "good")
    capsys.readouterr()
    command(own, "mine", str(july), "--yes")
    told = capsys.readouterr().out
    assert get_project(engine, "mine").classes == ("bad", "good")
    assert "'good' takes 'GOOD' (8)" in told
    assert len(views(engine, split="train")) + len(views(engine, split="test")) == 40


def test_new_spellings_of_known_classes_are_told(engine, own, tmp_path, capsys):
    run(engine, own, save(tmp_path / "june.csv", ["good", "bad"] * 8))
    command(
        own, "mine", str(save(tmp_path / "july.csv", ["Good", "bad"] * 8, first=16)), "--preview"
    )
    told = capsys.readouterr().out
    assert "'good' (0) = 'Good' (8)" in told
    assert "--merge-twins makes them one each" in told


def test_rows_whose_label_does_not_hold_are_counted_in_the_terminal(engine, own, tmp_path, capsys):
    answers = ["accept", "reject", "accept", "ignore"] * 6
    path = save(tmp_path / "a.csv", ["good", "bad", "bad"] * 8, answer=answers)
    command(own, "mine", str(path), "--yes")
    told = capsys.readouterr().out
    assert "'ignore' (6), 'reject' (6)" in told
    assert "Left out: 12 with problems" in told
    assert len(all_texts(engine)) == 12
    # More of the same project: what was left out may be taken, and nothing is doubled.
    command(own, "mine", str(path), "--status-values", "accept,ignore,reject", "--yes")
    assert len(all_texts(engine)) == 24


def test_no_note_is_cut(own, tmp_path, capsys):
    labels = [f"a rather long name of class {n}{end}" for n in range(30) for end in ("", ".", "!")]
    command(own, "mine", str(save(tmp_path / "long.csv", labels * 2)), "--preview")
    told = capsys.readouterr().out
    note = next(line for line in told.splitlines() if "--merge-twins" in line)
    assert note.startswith("- 90 of the 90 class names look like 30 classes")
    assert note.count("a rather long name") == 90


LATIN = os.fsdecode(b"r\xe9views")  # as an old system wrote it


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
def test_a_path_that_is_no_text_is_refused_before_anything_is_read(own, engine, tmp_path, capsys):
    (tmp_path / LATIN).mkdir()
    path = texts(tmp_path / f"{LATIN}.csv")
    assert command(own, "mine", str(path), "--preview") == 2
    told = capsys.readouterr().err
    assert r"r\udce9views.csv has a name in it that is no valid Unicode" in told
    assert "Rename" in told
    path = texts(tmp_path / "t.csv")
    assert command(own, "mine", str(path), "--image-root", str(tmp_path / LATIN)) == 2
    assert r"r\udce9views has a name" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
@pytest.mark.parametrize("kind", ["images", "tar"])
def test_names_inside_of_data_may_be_no_text(own, engine, tmp_path, capsys, kind):
    path = tmp_path / "data"
    if kind == "images":
        for n in range(10):
            (path / "ab"[n % 2] / LATIN).mkdir(parents=True, exist_ok=True)
            (path / "ab"[n % 2] / LATIN / f"{n}.png").write_bytes(picture(n))
    else:
        path = make_tar(tmp_path / "d.tar", {f"{LATIN}.csv": texts(tmp_path / "t").read_bytes()})
    assert command(own, "mine", str(path), "--yes") == 0
    assert "imported" in capsys.readouterr().out
