"""A folder of text files, one folder a class."""

from __future__ import annotations

from pathlib import Path

import pytest

from relabel.importers.columns.values import MAX_TEXT
from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions
from relabel.importers.readers import folders as folders_module
from tests.relabel.importers.builders import (
    image_folder,
    make_tar,
    make_zip,
    pets,
    preview,
    problems,
    read,
)
from tests.relabel.importers.files.languages import REVIEWS


def reviews(*folders: str, each: int = 4, suffix: str = ".txt") -> dict[str, bytes]:
    """Return texts by the names of their files."""
    return {
        f"{folder}/{label}/{number}{suffix}".strip("/"): f"{label} film {folder} {number}".encode()
        for folder in folders or ("",)
        for label in ("bad", "good")
        for number in range(each)
    }


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_the_folder_is_the_class_and_the_file_the_text(tmp_path):
    root = write(tmp_path / "films", reviews() | {"good/much.txt": b"\r\nFine.\r\n\r\nVery.\r\n"})
    found = preview(root)
    assert (found.format, found.kind, found.classes) == ("text-folder", "text", ("bad", "good"))
    records = {record.where: record for record in read(root)}
    assert records["bad/2.txt"].text == "bad film  2"
    assert records["good/much.txt"].text == "Fine.\n\nVery."
    assert (records["bad/2.txt"].label, records["good/much.txt"].label) == ("bad", "good")


@pytest.mark.parametrize("make", [write, make_zip, make_tar])
def test_a_download_with_splits_and_a_readme_is_understood(tmp_path, make):
    files = {f"films/{name}": data for name, data in reviews("train", "test").items()}
    files |= {"films/README": b"read me", "films/train/urls.txt": b"http://"}
    path = make(tmp_path / "films.data", files)
    found = preview(path)
    assert (found.format, found.counts) == ("text-folder", {"train": 8, "test": 8})
    assert found.classes == ("bad", "good")
    assert found.problem_counts == {"in no class folder": 2}


@pytest.mark.parametrize("suffix", ["", ".1042", ".md", ".7c53336b37003a9286aba55d2945844c"])
def test_files_of_any_name_may_be_texts(tmp_path, suffix):
    assert preview(write(tmp_path, reviews(suffix=suffix))).format == "text-folder"


def test_pictures_and_what_is_no_text_stay_a_folder_of_images(tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    assert preview(write(root, {"cat/about.txt": b"a cat"})).format == "image-folder"
    arrays = {f"{label}/{n}.dat": bytes(range(256)) for label in "ab" for n in range(3)}
    assert open_source(write(tmp_path / "arrays", arrays), ImportOptions()).format == "image-folder"
    tables = {f"{label}/{n}.csv": b"a,b\n1,2\n" for label in "ab" for n in range(3)}
    assert open_source(write(tmp_path / "tables", tables), ImportOptions()).format == "image-folder"


def test_the_format_can_be_said(tmp_path):
    root = write(tmp_path, {name: b"<p>x</p>" + data for name, data in reviews().items()})
    write(root, {"bad/photo.png": b"no picture"})
    assert open_source(root, ImportOptions()).format == "image-folder"
    found = preview(root, format="text-folder")
    assert (found.format, found.num_usable) == ("text-folder", 9)


def test_texts_that_cannot_be_used_are_reported_by_file(tmp_path):
    odd = {
        "bad/empty.txt": b" \n",
        "bad/long.txt": b"x" * (MAX_TEXT + 1),
        "bad/zero.txt": b"a\0b",
    }
    told = {p.where: p.what for p in problems(write(tmp_path, reviews() | odd))}
    assert told == {
        "bad/empty.txt": "empty text",
        "bad/long.txt": "text too long",
        "bad/zero.txt": "zero character",
    }


def test_each_file_may_be_in_utf_8_or_utf_16_or_an_older_encoding(tmp_path):
    odd = {
        "bad/a.txt": "caf\u00e9 \u00e0 c\u00f4t\u00e9".encode("cp1252"),
        "bad/b.txt": "caf\u00e9 \U0001f408".encode(),
        "bad/c.txt": "caf\u00e9 \U0001f408".encode("utf-16"),
        "bad/d.txt": "caf\u00e9".encode("utf-8-sig"),
    }
    root = write(tmp_path, reviews() | odd)
    texts = {record.where: record.text for record in read(root)}
    assert texts["bad/a.txt"] == "caf\u00e9 \u00e0 c\u00f4t\u00e9"
    assert texts["bad/b.txt"] == texts["bad/c.txt"] == "caf\u00e9 \U0001f408"
    assert texts["bad/d.txt"] == "caf\u00e9"
    assert any("cp1252 (Western European)" in note for note in preview(root).notes)


def test_an_older_encoding_is_found_by_many_files_or_said(tmp_path):
    lines = REVIEWS["russian"]
    files = {f"{'ab'[n % 2]}/{n}.txt": line.encode("koi8_r") for n, line in enumerate(lines)}
    root = write(tmp_path, files)
    assert {record.text for record in read(root)} == set(lines)
    assert any("koi8_r (Russian)" in note for note in preview(root).notes)
    assert {record.text for record in read(root, encoding="koi8_r")} == set(lines)
    told = problems(write(tmp_path / "odd", files), encoding="utf-16")
    assert {problem.what for problem in told} == {"wrong encoding"}


def test_of_huge_files_few_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(folders_module, "_SAMPLED_BYTES", 30)
    late = {"good/z.txt": "caf\u00e9".encode("cp1252")}
    root = write(tmp_path, reviews(each=9) | late)
    assert not any("cp1252" in note for note in preview(root).notes)
    assert "caf\u00e9" in {record.text for record in read(root)}
