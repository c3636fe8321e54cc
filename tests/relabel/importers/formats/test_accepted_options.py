"""Every option has an effect on every kind of data, or is refused with the way out."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from relabel.importers.accepted_options import switch_of
from relabel.importers.detect import open_source
from relabel.importers.formats.registry import list_forms
from relabel.importers.options import ImportOptions, OptionWithoutEffectError
from relabel.importers.plan import make_plan
from relabel.importers.scan import survey_source
from relabel.workspace import REPOSITORY_ROOT
from tests.relabel.importers.builders import image_folder, pets, picture
from tests.relabel.importers.readers.test_saved_datasets import save_to_disk
from tests.relabel.importers.readers.test_torchvision_sets import mnist
from tracin_core.errors import InputError

ROWS = 24
FRAME = pd.DataFrame(
    {
        "text": [f"this is the text of number {n} of all" for n in range(ROWS)],
        "more": [f"and number {n} says some more here" for n in range(ROWS)],
        "file": [f"{n}.png" for n in range(ROWS)],
        "size": [n * 1.5 for n in range(ROWS)],
        "weight": [(n * 7) % 11 + 0.25 for n in range(ROWS)],
        "label": [n % 3 for n in range(ROWS)],
        "second": ["red" if n % 2 else "blue" for n in range(ROWS)],
        "part": [("one", "two", "test")[n % 3 if n % 5 else 2] for n in range(ROWS)],
        "name": [f"key {n}" for n in range(ROWS)],
        "gold": [(n + n % 4) % 3 for n in range(ROWS)],
        "mark": ["accepted" if n % 4 else "rejected" for n in range(ROWS)],
        "spelled": [("red", "Red", "blue")[n % 3] for n in range(ROWS)],
    }
)


def make_folder(root: Path) -> Path:
    return image_folder(root / "pets", pets(each=6))


def make_texts(root: Path) -> Path:
    for number in range(12):
        path = root / "films" / ("bad", "good")[number % 2] / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"film number {number} is h\u00f6flich", encoding="utf-8")
    return root / "films"


def make_table(root: Path, ending: str) -> Path:
    path = root / f"table{ending}"
    for number in range(ROWS):
        for folder in (root, root / "pictures"):
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.png").write_bytes(picture(number + len(folder.name)))
    if ending == ".csv":
        FRAME.to_csv(path, index=False)
    elif ending == ".jsonl":
        FRAME.to_json(path, orient="records", lines=True)
    elif ending == ".feather":
        FRAME.to_feather(path)
    elif ending == ".xlsx":
        pytest.importorskip("openpyxl")
        with pd.ExcelWriter(path) as book:
            FRAME.to_excel(book, sheet_name="first", index=False)
            FRAME.assign(label="same").head(9).to_excel(book, sheet_name="second", index=False)
    else:
        FRAME.to_parquet(path)
    return path


def make_annotated(root: Path, tool: str) -> Path:
    """Write the same as an annotation tool exports it."""
    make_table(root, ".csv")
    rows = FRAME.to_dict("records")
    labels = [str(row.pop("label")) for row in rows]
    found: list[dict[str, object]] = [
        row | {"label": label, "answer": "accept", "_task_hash": 1}
        for row, label in zip(rows, labels, strict=True)
    ]
    if tool == "doccano":
        found = [row | {"label": [label]} for row, label in zip(rows, labels, strict=True)]
    if tool == "label-studio":
        result = {"from_name": "label", "to_name": "text", "type": "choices"}
        found = [
            {"data": row, "annotations": [{"result": [result | {"value": {"choices": [label]}}]}]}
            for row, label in zip(rows, labels, strict=True)
        ]
    path = root / f"all.{'json' if tool == 'label-studio' else 'jsonl'}"
    path.write_text(
        json.dumps(found) if tool == "label-studio" else "\n".join(map(json.dumps, found))
    )
    return path


def make_coco(root: Path) -> Path:
    (root / "pictures").mkdir()
    for part in ("train", "test"):
        images = [{"id": n, "file_name": f"p{n}.png"} for n in range(9)]
        names = ("red", "Red", "blue")
        found = {
            "images": images,
            "categories": [{"id": n, "name": name} for n, name in enumerate(names)],
            "annotations": [{"image_id": n, "category_id": n % 3} for n in range(9)],
        }
        (root / "sets" / part).mkdir(parents=True)
        (root / "sets" / part / "all.json").write_text(json.dumps(found))
        for n in range(9):
            (root / "sets" / part / f"p{n}.png").write_bytes(picture(n + 100 * (part == "test")))
    return root / "sets"


def make_saved(root: Path) -> Path:
    import pyarrow as pa

    make_table(root, ".csv")
    plain = {"_type": "Value", "dtype": "string"}
    features = dict.fromkeys(FRAME.columns, plain)
    folder = save_to_disk(root / "saved", pa.Table.from_pandas(FRAME), features)
    for number in range(ROWS):
        (folder / f"{number}.png").write_bytes(picture(number))
    return folder


def make_arrays(root: Path) -> Path:
    draw = np.random.default_rng(0)
    arrays = {"x": draw.normal(size=(ROWS, 3)), "z": draw.normal(size=(ROWS, 2))}
    words = {
        name: FRAME[name].to_numpy(dtype=str) for name in ("second", "part", "name", "spelled")
    }
    numbers = {name: FRAME[name].to_numpy() for name in ("label", "gold", "size")}
    np.savez(root / "a.npz", **arrays, **words, **numbers, y=FRAME["label"].to_numpy())
    return root / "a.npz"


def make_torchvision(root: Path) -> Path:
    mnist(root)
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "image-folder": make_folder,
    "text-folder": make_texts,
    "delimited": lambda root: make_table(root, ".csv"),
    "json-lines": lambda root: make_table(root, ".jsonl"),
    "parquet": lambda root: make_table(root, ".parquet"),
    "arrow": lambda root: make_table(root, ".feather"),
    "excel": lambda root: make_table(root, ".xlsx"),
    "huggingface": make_saved,
    "label-studio": lambda root: make_annotated(root, "label-studio"),
    "doccano": lambda root: make_annotated(root, "doccano"),
    "prodigy": lambda root: make_annotated(root, "prodigy"),
    "coco": make_coco,
    "torchvision": make_torchvision,
    "npz": make_arrays,
}
EFFECTS = {name: form.options for name, form in list_forms().items()}
FORMATS = dict.fromkeys(("delimited", "json-lines", "parquet"), "table")
# What is said beside an option, without which it could not have an effect.
WITH = {
    "train_values": {"split": "part"},
    "test_values": {"split": "part"},
    "first_class": {"classes": ("a", "b", "c", "d")},
    "image_root": {"image": "file"},
    "status_values": {"status": "mark"},
    "merge_twins": {"label": "spelled"},
}
TABLE = {
    "text": "more", "image": "file", "label": "second", "features": ("size",), "target": "size",
    "split": "part", "train_values": ("one",), "test_values": ("two",), "key": "name",
    "truth": "gold", "classes": ("a", "b", "c"), "first_class": 1, "image_root": "pictures",
    "encoding": "utf-16", "delimiter": ";", "columns": tuple("abcdefghijkl"), "dataset": "MNIST",
    "status": "mark", "status_values": ("rejected", "accepted"), "merge_twins": True,
    "sheet": "second", "test_share": 0.5, "seed": 7, "plant": 0.5,
}  # fmt: skip
VALUES: dict[str, dict[str, object]] = {
    "image-folder": {**TABLE, "classes": ("dog", "cat"), "train_values": ("cat",),
                     "test_values": ("cat",)},
    "text-folder": {**TABLE, "classes": ("good", "bad"), "encoding": "latin-1"},
    "torchvision": {**TABLE, "classes": tuple("abcdefghij")},
    "npz": {**TABLE, "image": "z", "features": ("z",)},
    "coco": {**TABLE, "image": "id", "label": "id", "key": "id", "train_values": ("test",),
             "test_values": ("train",), "classes": ("blue", "red", "Red")},
}  # fmt: skip
# Read by the same code as another kind, whose options are tested one by one.
SAME = {"doccano": "json-lines", "prodigy": "json-lines"}
OPTIONS = [f.name for f in fields(ImportOptions) if f.name != "format"]


def understand(path: Path, options: ImportOptions) -> object:
    """Return all that becomes of data; why nothing does, where that is so."""
    try:
        source = open_source(path, options)
        survey = survey_source(source)
        plan = make_plan(source, survey)
    except OptionWithoutEffectError:
        raise
    except InputError as error:
        return str(error)
    arrays = (plan.kept, plan.splits, plan.labels, plan.values, plan.true_labels, plan.true_values)
    whole = (source.kind, source.task, source.target, plan.classes, survey.digests.tobytes())
    return (*whole, *(array.tobytes() for array in arrays))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", [kind for kind in EFFECTS if kind not in SAME])
def test_an_option_has_an_effect_or_is_refused(tmp_path, kind, name):
    path = MAKERS[kind](tmp_path)
    value = VALUES.get(kind, TABLE)[name]
    if name == "image_root":
        value = str(tmp_path / value)
    if (kind, name) == ("coco", "image"):
        path = path / "train" / "all.json"  # a folder is one of pictures, where no column says more
    given = {name: value}
    has_columns = name in EFFECTS[kind] and not kind.endswith("-folder") and kind != "coco"
    beside = WITH.get(name, {}) if has_columns else {}
    base: dict[str, object] = {"dataset": "MNIST"} if kind == "torchvision" else {}
    if name == "dataset" and kind != "torchvision":
        base = {"format": FORMATS.get(kind, kind)}
    if name == "merge_twins" and kind.endswith("-folder"):
        one = next(path.iterdir())
        shutil.copytree(one, path / one.name.upper())
        (path / one.name.upper() / next(one.iterdir()).name).unlink()
        next(one.iterdir()).rename(path / one.name.upper() / "only")
    if kind == "npz" and name in ("image", "features"):
        beside = {"label": "y"}
    has_split = kind in ("torchvision", "coco") and name in ("test_share", "seed")
    if name in (*EFFECTS[kind], "test_share", "seed", "plant") and not has_split:
        if kind.endswith("-folder") and name in ("train_values", "test_values"):
            with pytest.raises(OptionWithoutEffectError, match=f"no folders.*{switch_of(name)}"):
                open_source(path, ImportOptions(**given))
            return
        if kind == "torchvision" and name == "dataset":
            # Its own folder tells the data set; said otherwise, another one is looked for.
            assert "torchvision cannot read KMNIST" in str(
                understand(path, ImportOptions(dataset="KMNIST"))
            )
            return
        if name == "image" and kind not in ("npz", "coco"):
            base = {"text": "text"}
        before = understand(path, ImportOptions(**{**base, **beside}))
        if name == "image":
            base = {}
        if name == "seed":
            before = understand(path, ImportOptions(**base, plant=0.5))
            beside = {**beside, "plant": 0.5}
        assert understand(path, ImportOptions(**{**base, **beside, **given})) != before
    else:
        with pytest.raises(OptionWithoutEffectError) as error:
            understand(path, ImportOptions(**{**base, **given}))
        assert error.value.names == (name,)
        told = str(error.value)
        assert switch_of(name) in told
        assert has_split or list_forms()[kind].words in told
        assert re.search(r"Leave|import|Only|[Nn]ame|gives|given", told)


@pytest.mark.parametrize("kind", SAME)
def test_what_is_read_alike_has_the_same_options(kind):
    assert EFFECTS[kind] == EFFECTS[SAME[kind]]


CASES = [
    # The kind, what is said, which of it has no effect, and what is told.
    ("delimited", {"text": "text", "image_root": "."}, ("image_root",), "examples are texts"),
    ("delimited", {"target": "size", "features": ("weight",), "classes": ("a", "b")},
     ("classes",), "numbers are predicted"),
    ("delimited", {"first_class": 1}, ("first_class",), "--classes"),
    ("delimited", {"label": "second", "classes": ("red", "blue"), "first_class": 1},
     ("first_class",), "the labels are names themselves, such as 'red'"),
    ("delimited", {"train_values": ("one",)}, ("train_values",), "--split"),
    ("delimited", {"split": "part", "train_values": ("one", "three")}, ("train_values",),
     "no split is called 'three'"),
    ("delimited", {"split": "part", "test_values": ("tset",)}, ("test_values",), "'tset'"),
    ("delimited", {"split": "part", "test_share": 0.3}, ("test_share",), "says itself"),
    ("delimited", {"split": "part", "seed": 3}, ("seed",), "says itself"),
    ("npz", {"train_values": ("one",)}, ("train_values",), "no array of splits"),
    ("npz", {"target": "size", "classes": ("a", "b")}, ("classes",), "numbers are predicted"),
    ("npz", {"features": ("x", "z")}, ("features",), "columns of an array have no names"),
    ("json-lines", {"first_class": 0}, ("first_class",), "--classes"),
    ("image-folder", {"key": "id", "truth": "gold"}, ("key", "truth"), "--key, --truth have no"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "said", "names", "told"), CASES)
def test_what_this_data_makes_useless_is_refused(tmp_path, kind, said, names, told):
    with pytest.raises(OptionWithoutEffectError, match=re.escape(told)) as error:
        understand(MAKERS[kind](tmp_path), ImportOptions(**said))
    assert error.value.names == names


def test_folders_of_splits_are_named_as_they_are(tmp_path):
    root = image_folder(tmp_path / "pets", pets("old", "new"))
    said = ImportOptions(train_values=("old",), test_values=("newer",))
    with pytest.raises(OptionWithoutEffectError, match=r"no split is called 'newer'.*'new', 'old'"):
        open_source(root, said)
    found = open_source(root, ImportOptions(test_values=("new",))).preview()
    assert found.counts == {"train": 6, "test": 6}


def test_what_was_found_out_may_be_said_again(tmp_path):
    for kind, make in MAKERS.items():
        (tmp_path / kind).mkdir()
        path = make(tmp_path / kind)
        options = open_source(path, ImportOptions()).options
        again = open_source(
            path, ImportOptions.from_json(json.loads(json.dumps(options.to_json())))
        )
        assert again.options == options


def test_the_guide_has_the_same_table():
    guide = (REPOSITORY_ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
    for kind, names in EFFECTS.items():
        switches = ", ".join(f"`{switch_of(name)}`" for name in names)
        assert f"| {list_forms()[kind].words} | {switches} |" in guide
