"""Tables: which column is what, and what is wrong with single rows."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from relabel.importers.options import ImportOptions
from tests.relabel.importers.builders import make_zip, picture, preview, problems, read, texts
from tracin_core.errors import ConfigurationError, InputError

FLOWERS = pd.DataFrame(
    {
        "Id": range(1, 61),
        "length": [round(1.0 + n / 7, 3) for n in range(60)],
        "width": [None if n == 5 else n % 9 for n in range(60)],
        "colour": [("red", "blue", "white")[n % 3] for n in range(60)],
        "grower": ["nobody"] * 60,
        "species": [("iris", "rose", "tulip")[n // 20] for n in range(60)],
    }
)
WRITERS = {
    "csv": lambda data, path: data.to_csv(path, index=False),
    "tsv": lambda data, path: data.to_csv(path, index=False, sep="\t"),
    "csv.gz": lambda data, path: data.to_csv(path, index=False),
    "parquet": lambda data, path: data.to_parquet(path),
    "jsonl": lambda data, path: data.to_json(path, orient="records", lines=True),
    "jsonl.gz": lambda data, path: data.to_json(path, orient="records", lines=True),
}


def save(tmp_path, data, ending="csv"):
    path = tmp_path / f"data.{ending}"
    WRITERS[ending](data, path)
    return path


def roles(found):
    return {column.name: column.role.split(":")[0] for column in found.columns}


@pytest.mark.parametrize("ending", WRITERS)
def test_columns_and_a_class_in_every_format(tmp_path, ending):
    path = save(tmp_path, FLOWERS, ending)
    found = preview(path)
    assert (found.format, found.kind, found.task) == ("table", "table", "classification")
    assert (found.target, found.classes) == ("species", ("iris", "rose", "tulip"))
    assert found.num_usable == 60
    assert found.options.features == ("length", "width", "colour")
    assert {c.name: c.kind for c in found.columns if c.role == "feature"} == {
        "length": "number",
        "width": "number",
        "colour": "category",
    }
    assert "--key uses it" in {c.name: c.role for c in found.columns}["Id"]
    fields = [record.fields for record in read(path)]
    assert fields[5] == {"length": 1.714, "width": None, "colour": "white"}


def test_contents_have_the_same_keys_in_every_format(tmp_path):
    keys = [[r.key() for r in read(save(tmp_path, FLOWERS, ending))] for ending in WRITERS]
    assert all(found == keys[0] for found in keys)


def test_a_number_is_predicted_where_it_is_named(tmp_path):
    found = preview(save(tmp_path, FLOWERS), target="length")
    assert (found.task, found.target, found.classes) == ("regression", "length", ())
    assert roles(found)["species"] == "feature"
    assert read(save(tmp_path, FLOWERS), target="length")[0].value == 1.0


def test_a_label_with_fractions_is_a_number(tmp_path):
    data = FLOWERS.rename(columns={"length": "label"}).drop(columns="species")
    assert preview(save(tmp_path, data)).task == "regression"


def test_many_whole_numbers_are_classes_with_a_hint(tmp_path):
    data = pd.DataFrame({"text": [f"text {n}" for n in range(300)], "label": range(300)})
    found = preview(save(tmp_path, data))
    assert found.task == "classification"
    assert any("--target label" in note for note in found.notes)


def test_labels_may_be_integers_with_names(tmp_path):
    data = pd.DataFrame({"text": [f"text {n}" for n in range(9)], "label": [0, 1, 2] * 3})
    assert preview(save(tmp_path, data)).classes == ("0", "1", "2")
    found = preview(save(tmp_path, data), classes=("no", "yes", "maybe", "never"))
    assert found.classes == ("no", "yes", "maybe", "never")
    assert found.class_counts == {"no": 3, "yes": 3, "maybe": 3, "never": 0}
    assert any("no example: never" in note for note in found.notes)


def test_labels_beyond_the_names_are_reported(tmp_path):
    data = pd.DataFrame({"text": [f"text {n}" for n in range(9)], "label": [0, 1, 2] * 3})
    found = preview(save(tmp_path, data), classes=("no", "yes"))
    assert found.problem_counts == {"unknown class": 3}
    assert "no whole number from 0 to 1" in found.problems[0].message


def test_integers_that_a_gap_made_fractions_are_integers_still(tmp_path):
    data = pd.DataFrame({"text": [f"text {n}" for n in range(9)], "label": [0, 1, None] * 3})
    for ending in ("csv", "parquet"):
        found = preview(save(tmp_path, data, ending))
        assert found.classes == ("0", "1")
        assert found.problem_counts == {"no label": 3}


def test_numbers_as_labels_are_sorted_by_value(tmp_path):
    data = pd.DataFrame({"text": [f"text {n}" for n in range(12)], "label": [2, 10, 1] * 4})
    assert preview(save(tmp_path, data)).classes == ("1", "2", "10")


def test_a_class_may_be_called_na_or_none(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(
        "text,label\n" + "".join(f"t {n},{'NA' if n % 2 else 'None'}\n" for n in range(9))
    )
    assert preview(path).classes == ("NA", "None")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("sentence", "sentiment"), ("sentence", "sentiment")),
        (("Review Text", "class"), ("Review Text", "class")),
        (("id", "content", "category"), ("content", "category")),
        (("utterance", "intent", "annotator_id"), ("utterance", "intent")),
        (("what was said", "what it means"), ("what was said", "what it means")),
    ],
)
def test_texts_are_found_by_name_or_by_length(tmp_path, columns, expected):
    values = {
        name: [f"a rather long sentence with many words, number {n}" for n in range(30)]
        if name == expected[0]
        else ([("a", "b")[n % 2] for n in range(30)] if name == expected[1] else range(30))
        for name in columns
    }
    found = preview(save(tmp_path, pd.DataFrame(values)))
    assert (found.kind, found.options.text, found.options.label) == ("text", *expected)
    assert any("--text" in note for note in found.notes)


def test_what_cannot_be_told_is_asked_for_by_name(tmp_path):
    data = FLOWERS.rename(columns={"species": "outcome"})
    with pytest.raises(InputError, match=r"cannot be told.*colour, grower, outcome.*--target"):
        preview(save(tmp_path, data))
    assert preview(save(tmp_path, data), label="outcome").kind == "table"


def test_a_misspelled_column_gets_a_suggestion(tmp_path):
    with pytest.raises(InputError, match=r"no column 'specis'.*Did you mean 'species'"):
        preview(save(tmp_path, FLOWERS), label="specis")


# Splits


def test_a_split_column_is_found_even_if_the_data_is_sorted_by_it(tmp_path, monkeypatch):
    monkeypatch.setattr("relabel.importers.readers.table.profile_table.__defaults__", (10,))
    data = FLOWERS.assign(split=["train"] * 40 + ["validation"] * 15 + ["unlabelled"] * 5)
    found = preview(save(tmp_path, data))
    assert found.counts == {"train": 40, "test": 15}
    assert found.problem_counts == {"left out by its split": 5}
    assert "split" not in found.options.features


def test_values_of_the_split_can_be_named(tmp_path):
    data = FLOWERS.assign(part=[n % 3 for n in range(60)])
    said = {"split": "part", "train_values": ("0", "1"), "test_values": ("2",)}
    assert preview(save(tmp_path, data), **said).counts == {"train": 40, "test": 20}
    with pytest.raises(InputError, match="--train-values"):
        preview(save(tmp_path, data), split="part", train_values=("7",))


def test_a_split_without_testing_is_completed(tmp_path):
    found = preview(save(tmp_path, FLOWERS.assign(split="train")), split="split")
    assert found.counts == {"train": 48, "test": 12}
    assert any("no examples for testing" in note for note in found.notes)


def test_a_split_without_training_is_refused(tmp_path):
    data = FLOWERS.assign(split="test")
    with pytest.raises(InputError, match="--train-values"):
        preview(save(tmp_path, data), split="split")


# The label as the input


def test_the_label_cannot_be_named_as_the_input(tmp_path):
    for said in ({"text": "species"}, {"features": ("length", "species")}):
        with pytest.raises(ConfigurationError, match="only copy it"):
            ImportOptions(label="species", **said)


def test_a_column_that_says_the_label_is_left_out_with_the_reason(tmp_path):
    codes = {"iris": 11, "rose": 12, "tulip": 13}
    data = FLOWERS.assign(code=FLOWERS["species"].map(codes))
    found = preview(save(tmp_path, data))
    assert "code" not in found.options.features
    assert any("'code'" in note and "is the label" in note for note in found.notes)
    with pytest.raises(InputError, match="'code' is the label"):
        preview(save(tmp_path, data), features=("length", "code"))


def test_a_text_that_is_the_label_is_refused(tmp_path):
    data = pd.DataFrame({"text": ["good", "bad"] * 20, "label": [1, 0] * 20})
    with pytest.raises(InputError, match="'text' is the label"):
        preview(save(tmp_path, data), text="text", label="label")


def test_where_nothing_is_left_as_input_the_reasons_are_told(tmp_path):
    data = pd.DataFrame({"text": ["good", "bad"] * 20, "label": ["x", "y"] * 20, "same": 1})
    with pytest.raises(InputError, match=r"No column is left.*'text' is left out .*label") as told:
        preview(save(tmp_path, data))
    assert "'same' is left out (" in str(told.value)


def test_the_target_again_is_left_out(tmp_path):
    data = FLOWERS.assign(copy=FLOWERS["length"])
    found = preview(save(tmp_path, data), target="length")
    assert "copy" not in found.options.features


def test_a_truth_column_is_no_input_and_is_read_when_named(tmp_path):
    data = FLOWERS.assign(true_label=["iris"] * 30 + ["tulip"] * 30)
    found = preview(save(tmp_path, data))
    assert "true_label" not in found.options.features
    assert any("--truth" in note for note in found.notes)
    assert read(save(tmp_path, data), truth="true_label")[25].truth == "iris"


@pytest.mark.parametrize("place", ["text", "label"])
def test_a_column_whose_name_cannot_be_kept_is_refused_at_once(tmp_path, place):
    path = texts(tmp_path / "data.csv")
    named = path.read_bytes().replace(place.encode(), place.encode() + b"\0x", 1)
    path.write_bytes(named)
    with pytest.raises(InputError, match="The name of a column contains a zero character"):
        preview(path, **{place: f"{place}\0x"})


# What is wrong with single rows

BAD_TEXTS = [
    ("", "good", "empty text"),
    ("   ", "good", "empty text"),
    ("x" * 1_000_001, "good", "text too long"),
    ("zero \x00 inside", "good", "zero character"),
    ("no label", "", "no label"),
    ("a label that is a text", "very " * 60, "no label"),
]


@pytest.mark.parametrize(("text", "label", "what"), BAD_TEXTS, ids=lambda v: str(v)[:12])
def test_a_row_that_cannot_be_used_is_named_and_the_others_go_on(tmp_path, text, label, what):
    path = texts(tmp_path / "data.csv", extra=f'"{text}","{label}"\n')
    found = preview(path)
    assert [(p.row, p.where, p.what) for p in found.problems] == [(42, "row 42", what)]
    assert found.num_usable == 40
    assert found.num_refused == 1


def test_emoji_and_text_from_right_to_left_are_texts_and_classes(tmp_path):
    data = pd.DataFrame(
        {"text": ["👩‍👩‍👧 שלום 🎉", "مرحبا \u202eabc"] * 5, "label": ["😀", "مرحبا"] * 5}
    )
    data["text"] += [f" {n}" for n in range(10)]
    for ending in ("csv", "parquet", "jsonl"):
        path = save(tmp_path, data, ending)
        assert [r.text for r in read(path)] == list(data["text"])
        assert set(preview(path).classes) == {"😀", "مرحبا"}


@pytest.mark.parametrize("bad", ["NaN", "", "inf", "-inf", "1e999", "9" * 400, "about 7", "null"])
def test_targets_that_are_no_finite_number_are_reported(tmp_path, bad):
    path = tmp_path / "data.csv"
    rows = "".join(f"{n},{n / 3}\n" for n in range(30))
    path.write_text(f"x,y\n{rows}5,{bad}\n")
    found = preview(path, target="y")
    assert [(p.row, p.what) for p in found.problems] == [(32, "no number")]
    assert found.num_usable == 30


def test_nan_targets_in_parquet_are_reported(tmp_path):
    data = pd.DataFrame({"x": range(30), "y": [n / 3 for n in range(29)] + [float("nan")]})
    assert preview(save(tmp_path, data, "parquet"), target="y").problem_counts == {"no number": 1}


def test_words_among_numbers_are_reported_but_missing_ones_are_missing(tmp_path):
    path = tmp_path / "data.csv"
    rows = "".join(f"{n},{n % 7},{'ab'[n % 2]}\n" for n in range(60))
    path.write_text(f"x,z,label\n{rows}NA,?,a\nlarge,3,b\ninf,3,b\n")
    assert [(p.row, p.what) for p in problems(path)] == [
        (62, "empty row"),
        (63, "not a number"),
        (64, "not a number"),
    ]
    assert read(path)[0].fields == {"x": 0, "z": 0}


def test_one_class_only_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"one class, 'iris'.*--label"):
        preview(save(tmp_path, FLOWERS.assign(species="iris")))


def test_a_class_with_one_example_goes_to_training_with_a_word(tmp_path):
    data = FLOWERS.assign(species=["orchid", *FLOWERS["species"][1:]])
    found = preview(save(tmp_path, data))
    assert found.class_counts["orchid"] == 1
    assert [(p.row, p.what, p.refused) for p in found.problems] == [
        (2, "class with one example", False)
    ]
    assert "only example of the class 'orchid'" in found.problems[0].message
    assert any("one example: orchid" in note for note in found.notes)
    assert found.num_usable == 60


def test_ten_thousand_classes_are_refused_with_the_way_out(tmp_path):
    rows = "".join(f"the text {n},name {n % 10_000}\n" for n in range(20_000))
    path = tmp_path / "data.csv"
    path.write_text(f"text,label\n{rows}")
    with pytest.raises(
        InputError, match=r"10,000 classes, expected at most 1,000.*--target"
    ) as told:
        preview(path)
    assert "'name 0' (row 2), 'name 1' (row 3), 'name 2' (row 4)." in str(told.value)


def test_names_that_differ_in_capitals_only_are_noted(tmp_path):
    data = FLOWERS.assign(species=[("Rose", "rose", "tulip")[n % 3] for n in range(60)])
    assert any("'Rose' (20) = 'rose' (20)" in note for note in preview(save(tmp_path, data)).notes)


def test_no_usable_row_says_what_is_wrong(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "something,\n" * 5)
    with pytest.raises(InputError, match=r"None of the 5 examples.*no label \(5\).*row 2"):
        preview(path, text="text", label="label")


# Images named by a table


def gallery(tmp_path, extra=()):
    folder = tmp_path / "table"
    (folder / "img").mkdir(parents=True)
    rows = []
    for number in range(20):
        (folder / "img" / f"{number}.png").write_bytes(picture(number))
        rows.append((f"img/{number}.png", "ab"[number % 2]))
    data = pd.DataFrame([*rows, *extra], columns=["file_name", "label"])
    path = folder / "data.csv"
    data.to_csv(path, index=False)
    return path


def test_images_are_found_beside_the_table(tmp_path):
    found = preview(gallery(tmp_path))
    assert (found.kind, found.options.image, found.num_usable) == ("image", "file_name", 20)
    assert read(gallery(tmp_path / "again"))[3].image.to_file() == (picture(3), ".png")


def test_missing_and_forbidden_images_are_named_by_row(tmp_path):
    (tmp_path / "secret.png").write_bytes(picture(99))
    extra = [
        ("img/404.png", "a"),
        ("../secret.png", "a"),
        (str(tmp_path / "secret.png"), "b"),
        ("img\\..\\..\\secret.png", "b"),
        ("img/link.png", "b"),
        ("", "b"),
        ("img/broken.png", "b"),
    ]
    path = gallery(tmp_path, extra)
    (path.parent / "img" / "link.png").symlink_to(tmp_path / "secret.png")
    (path.parent / "img" / "broken.png").write_bytes(b"no image")
    found = preview(path)
    assert [(p.row, p.what) for p in found.problems] == [
        (22, "missing image"),
        (23, "outside the data folder"),
        (24, "outside the data folder"),
        (25, "outside the data folder"),
        (26, "outside the data folder"),
        (27, "missing image"),
        (28, "unreadable image"),
    ]
    assert "--image-root" in found.problems[0].message
    assert found.num_usable == 20


def test_the_image_folder_can_be_named(tmp_path):
    path = gallery(tmp_path)
    moved = path.rename(tmp_path / "elsewhere.csv")
    assert preview(moved, image_root=str(tmp_path / "table")).num_usable == 20
    with pytest.raises(InputError, match=r"404.*does not exist"):
        preview(moved, image_root=str(tmp_path / "404"))


# Options


def test_options_survive_json():
    options = ImportOptions(
        text="t", label="l", classes=("a", "b"), test_share=0.3, delimiter="tab", plant=0.1
    )
    assert ImportOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert ImportOptions().to_json() == {}
    with pytest.raises(ConfigurationError, match="colour"):
        ImportOptions.from_json({"colour": "red"})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"format": "hdf5"}, "image-folder, text-folder, table"),
        ({"delimiter": "ab"}, "one character"),
        ({"test_share": 0}, "between 0 and 1"),
        ({"test_share": 1.0}, "between 0 and 1"),
        ({"plant": 1.5}, "planted errors"),
        ({"label": "a", "target": "b"}, "--label and --target"),
        ({"text": "a", "image": "b"}, "--text and --image"),
        ({"label": "a", "truth": "a"}, "another role"),
    ],
)
def test_impossible_options_are_refused(said, message):
    with pytest.raises(ConfigurationError, match=message):
        ImportOptions(**said)


def test_a_path_that_does_not_exist_is_said(tmp_path):
    with pytest.raises(InputError, match=r"does not exist.*one folder a class"):
        preview(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("ending", "way_out"),
    [(".xlsx", "as CSV"), (".pkl", "can run code"), (".pt", "np.savez"), (".ods", "as CSV")],
)
def test_other_files_are_refused_with_the_way_out(tmp_path, ending, way_out):
    path = tmp_path / f"data{ending}"
    path.write_bytes(b"something")
    with pytest.raises(InputError, match=way_out):
        preview(path)
    make_zip(path, {"xl/workbook.xml": b"<x/>", "data.csv": b"a,b"})  # as such files often are
    with pytest.raises(InputError, match=way_out):
        preview(path)


def test_a_pointer_of_git_lfs_is_said(tmp_path):
    for name in ("data.csv", "data.parquet", "data.npz"):
        (tmp_path / name).write_bytes(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a"
        )
        with pytest.raises(InputError, match="git lfs pull"):
            preview(tmp_path / name)


def test_an_address_is_no_image(tmp_path):
    path = tmp_path / "data.csv"
    rows = "".join(f"https://example.org/{n}.png,{n % 2}\n" for n in range(9))
    path.write_text("image,label\n" + rows)
    with pytest.raises(InputError, match=r"is an address, and nothing is downloaded"):
        preview(path)
