"""The same data as a folder, a zip and a tar archive gives the same answer."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions
from relabel.importers.plan import make_plan
from relabel.importers.scan import survey_source
from tests.relabel.importers.builders import picture
from tracin_core.errors import InputError

Files = dict[str, bytes]


def pictures(*folders: str, each: int = 6, suffix: str = ".png", start: int = 0) -> Files:
    """Return different pictures in some folders."""
    return {
        f"{folder}/{number}{suffix}".lstrip("/"): picture(start + 100 * place + number)
        for place, folder in enumerate(folders)
        for number in range(each)
    }


def texts(*folders: str, each: int = 6) -> Files:
    """Return different texts in some folders."""
    return {
        f"{folder}/{number}.txt": f"what {folder} number {number} says".encode()
        for folder in folders
        for number in range(each)
    }


def parquet(rows: int = 20) -> bytes:
    buffer = io.BytesIO()
    frame = {"text": [f"the text {n}" for n in range(rows)], "label": ["a", "b"] * (rows // 2)}
    pd.DataFrame(frame).to_parquet(buffer)
    return buffer.getvalue()


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.arange(40).reshape(20, 2), y=np.arange(20) % 2)
    return buffer.getvalue()


def labels(names: dict[str, str], head: str = "file_name,label") -> bytes:
    return "\n".join([head, *(f"{name},{label}" for name, label in names.items())]).encode()


def swap(files: Files) -> dict[str, str]:
    """Return a label for each file that no folder has."""
    return {name: "disc" if number % 2 else "bar" for number, name in enumerate(files)}


PETS = pictures("cat", "dog")
BATCHES = pictures("batch_a", "batch_b")
LOOSE = pictures("images", each=12)
ENDLESS = {name.removeprefix("images/").removesuffix(".png"): label
           for name, label in swap(LOOSE).items()}  # fmt: skip
LAYOUTS: dict[str, Files] = {
    "classes": PETS,
    "dashes": pictures("cat", "cat-2", "cat.3", each=4),
    "splits": pictures("train/cat", "train/dog", "test/cat", "test/dog"),
    "words": pictures("training_set/cat", "training_set/dog", "Test set/cat", "Test set/dog"),
    "below": pictures("cat/train", "cat/test", "dog/train", "dog/test"),
    "wrapped": pictures("a/b/c/train/cat", "a/b/c/train/dog", "a/b/c/val/cat", "a/b/c/val/dog"),
    "readme": {**{f"pets/{n}": d for n, d in PETS.items()}, "pets/README.md": b"pets"},
    "folds": pictures("fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog"),
    "flat folds": pictures("fold1", "fold2", "fold3"),
    "masks": pictures("images", "masks"),
    "boxes": {**pictures("images/train", "images/val"), **texts("labels/train", "labels/val")},
    "masks below": pictures("cat/images", "cat/masks", "dog/images", "dog/masks"),
    "flat splits": pictures("train", "test"),
    "unlabelled": pictures("cat", "dog", "_unlabeled"),
    "unlabelled split": pictures("train/cat", "train/dog", "test/cat", "test/dog", "unsup"),
    "tiny": {**pictures("train/n1/images", "train/n2/images", "val/images", "test/images"),
             "val/val_annotations.txt": b"0.png\tn1\n", "wnids.txt": b"n1\nn2\n"},
    "server": {**PETS, **pictures("cat/@eaDir/0.png", each=2, start=900), "dog/Thumbs.db": b"x",
               "cat/._0.png": b"x", "#recycle/old/1.png": picture(990), ".git/x": b"1"},
    "sidecars": {**PETS, "cat/0.png.xmp": b"<x/>", "cat/1.aae": b"<plist/>"},
    "super": pictures("animal/cat", "animal/dog", "thing/car", "thing/bus"),
    "numbers": pictures("0", "1", "10", "2", each=4),
    "twins": pictures("Cat", "cat", "c\u00e4t", "ca\u0308t", each=3),
    "repeated": {**PETS, "cat/9.png": PETS["dog/0.png"], "dog/10.png": PETS["dog/0.png"]},
    "loose": pictures("", each=5),
    "table": {"metadata.csv": labels(swap(BATCHES)), **BATCHES},
    "table around": {f"set/{n}": d for n, d in
                     {"list.csv": labels(swap(BATCHES)), **BATCHES}.items()},
    "whole paths": {"set/list.csv": labels({f"set/{n}": v for n, v in swap(BATCHES).items()}),
                    **{f"set/{n}": d for n, d in BATCHES.items()}},
    "table of one folder": {"labels.csv": labels({n.removeprefix("images/"): v for n, v
                                                  in swap(LOOSE).items()}), **LOOSE},
    "tables below": {**pictures("train", "test", each=10), **{
        f"{part}/metadata.csv": labels(swap(pictures("", each=10))) for part in ("train", "test")}},
    "tables of parts": {**pictures("site_a", "site_b", each=10), **{
        f"{part}/list.csv": labels(swap(pictures("", each=10))) for part in ("site_a", "site_b")}},
    "no endings": {"labels.csv": labels(ENDLESS, "id,breed"), **LOOSE},
    "flat table": {"labels.csv": labels(swap(pictures("", each=12))), **pictures("", each=12)},
    "strange table": {**PETS, "notes.csv": b"day,weather\n1,fine\n2,rain\n"},
    "strange parquet": {**PETS, "features.parquet": parquet()},
    "pointers": {**PETS, "cat/7.png": b"version https://git-lfs.github.com/spec/v1"},
    "two tables": {"train.csv": labels(swap(PETS)), "test.csv": labels(swap(PETS)), **PETS},
    "one csv": {"reviews.csv": b"text,label\n" + b"".join(
        f"the text number {n},{'ab'[n % 2]}\n".encode() for n in range(20))},
    "one parquet": {"data/train-00000-of-00001.parquet": parquet()},
    "arrays": {"set/data.npz": arrays()},
    "texts": texts("bad", "good"),
    "text splits": texts("train/neg", "train/pos", "train/unsup", "test/neg", "test/pos"),
}  # fmt: skip


def write(root: Path, files: Files) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def pack_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in shuffled(files):
            archive.writestr(name, files[name])
    return path


def pack_tar(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name in shuffled(files):
            header = tarfile.TarInfo(f"./{name}")
            header.size = len(files[name])
            archive.addfile(header, io.BytesIO(files[name]))
    return path


def shuffled(files: Files) -> list[str]:
    names = list(files)
    random.Random(0).shuffle(names)
    return names


def understand(path: Path, **options: object) -> object:
    """Return all that is understood of data, or why nothing is."""
    try:
        source = open_source(path, ImportOptions(**options))
        survey = survey_source(source)
        plan = make_plan(source, survey)
    except InputError as error:
        return str(error).replace(str(path), "PATH").split(". ")[1:]
    places = source.places(set(survey.rows.tolist()))
    examples = {
        places[int(survey.rows[n])]: (int(plan.splits[n]), plan.classes[plan.labels[n]])
        for n in range(len(survey))
        if plan.kept[n]
    }
    found = (source.format, source.kind, source.task, plan.classes, plan.counts())
    return (*found, examples, sorted((survey.problems.counts + plan.problems.counts).items()))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_and_its_archives_are_understood_alike(tmp_path, name):
    files = LAYOUTS[name]
    expected = understand(write(tmp_path / "data", files))
    assert understand(pack_zip(tmp_path / "data.zip", files)) == expected
    assert understand(pack_tar(tmp_path / "data.tar", files)) == expected
    assert understand(pack_tar(tmp_path / "data.tar.gz", files)) == expected


@pytest.mark.parametrize("name", ["classes", "repeated", "texts", "table"])
@pytest.mark.parametrize("options", [{"plant": 0.3, "seed": 4}, {"test_share": 0.4}])
def test_splits_and_planted_errors_are_those_of_the_folder(tmp_path, name, options):
    files = LAYOUTS[name]
    expected = understand(write(tmp_path / "data", files), **options)
    assert understand(pack_tar(tmp_path / "data.tar.gz", files), **options) == expected
    assert understand(pack_zip(tmp_path / "data.zip", files), **options) == expected


def test_a_file_that_was_added_again_replaces_the_earlier_one(tmp_path):
    expected = understand(write(tmp_path / "data", PETS))
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        for data in (picture(900), PETS["cat/3.png"]):
            for name, member in {**PETS, "cat/3.png": data}.items():
                header = tarfile.TarInfo(name)
                header.size = len(member)
                archive.addfile(header, io.BytesIO(member))
    assert understand(tmp_path / "data.tar") == expected
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("cat/3.png", picture(900))
        for name, data in PETS.items():
            if name == "cat/3.png":
                with pytest.warns(UserWarning, match="Duplicate name"):
                    archive.writestr(name, data)
            else:
                archive.writestr(name, data)
    assert understand(tmp_path / "data.zip") == expected
