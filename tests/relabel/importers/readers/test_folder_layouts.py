"""Folders that are no classes: splits, parts, pairs, masks, containers, clutter, tables."""

from __future__ import annotations

import pytest

from relabel.importers.columns.column_names import is_fold, masked_stem, role_of
from relabel.importers.detect import list_columns
from relabel.importers.options import ImportOptions
from relabel.importers.readers import folder_layouts
from tests.relabel.importers.builders import picture, preview, read
from tests.relabel.importers.files.test_same_in_archives import (
    LAYOUTS,
    Files,
    pictures,
    texts,
    write,
)
from tracin_core.errors import InputError

# By layout: examples by class, train and test examples, and problems by kind.
EXPECTED: dict[str, tuple[dict[str, int], tuple[int, int], dict[str, int]]] = {
    "below": ({"cat": 12, "dog": 12}, (12, 12), {}),
    "wrapped": ({"cat": 12, "dog": 12}, (12, 12), {}),
    "folds": ({"cat": 12, "dog": 12}, (20, 4), {}),
    "masks below": ({"cat": 6, "dog": 6}, (10, 2), {"mask of another picture": 12}),
    "unlabelled": ({"cat": 6, "dog": 6}, (10, 2), {"no class": 6}),
    "unlabelled split": ({"cat": 12, "dog": 12}, (12, 12), {"left out by its split": 6}),
    "tiny": ({"n1": 6, "n2": 6}, (10, 2), {"no class": 12, "in no class folder": 2}),
    "server": ({"cat": 6, "dog": 6}, (10, 2), {}),
    "sidecars": ({"cat": 6, "dog": 6}, (10, 2), {}),
    "numbers": ({"0": 4, "1": 4, "2": 4, "10": 4}, (12, 4), {}),
    "table": ({"bar": 6, "disc": 6}, (10, 2), {}),
    "table around": ({"bar": 6, "disc": 6}, (10, 2), {}),
    "whole paths": ({"bar": 6, "disc": 6}, (10, 2), {}),
    "table of one folder": ({"bar": 6, "disc": 6}, (10, 2), {}),
    "no endings": ({"bar": 6, "disc": 6}, (10, 2), {}),
    "tables below": ({"bar": 10, "disc": 10}, (10, 10), {}),
    "tables of parts": ({"bar": 10, "disc": 10}, (16, 4), {}),
    "strange table": ({"cat": 6, "dog": 6}, (10, 2), {"in no class folder": 1}),
    "strange parquet": ({"cat": 6, "dog": 6}, (10, 2), {"in no class folder": 1}),
    "text splits": ({"neg": 12, "pos": 12}, (12, 12), {"no class": 6}),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_layout_gives_its_classes_and_its_split(tmp_path, name):
    classes, counts, wrong = EXPECTED[name]
    found = preview(write(tmp_path, LAYOUTS[name]))
    assert found.class_counts == classes
    assert (found.counts["train"], found.counts["test"]) == counts
    assert found.problem_counts == wrong


def masks_by_name() -> Files:
    """Return pictures of scans with a mask beside each, as BUSI has them."""
    names = [f"{label}/{label} ({n}).png" for label in ("benign", "healthy") for n in range(6)]
    files = {name: picture(number) for number, name in enumerate(names)}
    masks = {n.replace(".png", "_mask.png"): picture(1000 + i) for i, n in enumerate(files)}
    return files | masks | {"benign/benign (2)_mask_1.png": picture(300)}


MORE: dict[str, tuple[Files, dict[str, int]]] = {
    "masks by name": (masks_by_name(), {"benign": 6, "healthy": 6}),
    "for prediction": (
        pictures("seg_train/seg_train/sea", "seg_train/seg_train/ice", "seg_test/seg_test/sea",
                 "seg_test/seg_test/ice", "seg_pred/seg_pred"), {"ice": 12, "sea": 12}),
    "notes beside": ({**pictures("data/cat", "data/dog"), "docs/a.md": b"a", "docs/b.md": b"b"},
                     {"cat": 6, "dog": 6}),
    "train and unlabelled": (pictures("train/cat", "train/dog", "unlabeled"),
                             {"cat": 6, "dog": 6}),
    "very deep": (pictures("a/b/c/d/e/train/cat", "a/b/c/d/e/train/dog", "a/b/c/d/e/test/cat"),
                  {"cat": 12, "dog": 6}),
    "folds of splits": (pictures("train/fold1/cat", "train/fold1/dog", "train/fold2/cat",
                                 "test/fold1/cat", "test/fold1/dog"), {"cat": 18, "dog": 12}),
    "some directly": ({**pictures("cat/train", "cat/test", "dog/train", "dog/test"),
                       **pictures("dog", start=900)}, {"cat": 12, "dog": 12}),
    "a mask is worn": (pictures("with_mask", "without_mask"),
                       {"with_mask": 6, "without_mask": 6}),
    "party or partner": (pictures("party", "partner"), {"partner": 6, "party": 6}),
    "boxes as things": (pictures("boxes", "bottles"), {"bottles": 6, "boxes": 6}),
}  # fmt: skip


@pytest.mark.parametrize("name", MORE)
def test_more_layouts(tmp_path, name):
    files, classes = MORE[name]
    assert preview(write(tmp_path, files)).class_counts == classes


REFUSED: dict[str, tuple[Files, str]] = {
    "masks": (pictures("images", "masks"), "look like pictures with masks"),
    "splits of masks": (pictures("train/images", "train/masks", "val/images", "val/masks"),
                        "look like pictures with masks"),
    "train_masks": (pictures("train", "train_masks", "test"), "look like pictures with masks"),
    "camvid": (pictures("train", "trainannot", "val", "valannot"), "look like pictures with masks"),
    "cityscapes": (pictures("leftImg8bit/train", "leftImg8bit/val", "gtFine/train", "gtFine/val"),
                   "look like pictures with masks"),
    "voc": ({**pictures("VOC2012/JPEGImages", "VOC2012/SegmentationClass"),
             **texts("VOC2012/ImageSets")}, "look like pictures with masks"),
    "coco": ({**pictures("train2017", "val2017"), "annotations/instances.json": b"{}"},
             "say what is for training and testing"),
    "yolo": ({**pictures("train/images", "valid/images"), **texts("train/labels", "valid/labels")},
             "called like folders of any files"),
    "cyclegan": (pictures("trainA", "trainB", "testA", "testB"),
                 "say what is for training and testing"),
    "folds": (pictures("fold1", "fold2"), "called like parts of one data set"),
    "splits": (pictures("train", "val"), "say what is for training and testing"),
    "containers": (pictures("train/images", "test/images"), "called like folders of any files"),
    "unlabelled": (pictures("images", "unlabeled"), "called like folders of any files"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_folders_that_hold_no_classes_are_refused_with_the_way_out(tmp_path, name):
    files, told = REFUSED[name]
    with pytest.raises(InputError, match=rf"{told}.*import that table.*with --classes"):
        preview(write(tmp_path, files))


@pytest.mark.parametrize(
    ("name", "classes"), [("masks", ("images", "masks")), ("folds", ("fold1", "fold2")),
                          ("splits", ("train", "val")), ("cyclegan", ("trainA", "testB"))]
)  # fmt: skip
def test_the_way_out_that_is_told_works(tmp_path, name, classes):
    found = preview(write(tmp_path, REFUSED[name][0]), classes=classes)
    assert found.class_counts == dict.fromkeys(classes, 6)


def test_a_table_that_lies_there_is_named(tmp_path):
    files = {**pictures("train", "test"), "labels/list.csv": b"a,b\n1,2\n"}
    with pytest.raises(InputError, match=r"import that table \(labels/list.csv\)"):
        preview(write(tmp_path, files), format="image-folder")


def test_inner_folders_become_the_classes_as_is_told(tmp_path):
    root = write(tmp_path, LAYOUTS["super"])
    found = preview(root)
    assert found.class_counts == {"animal": 12, "thing": 12}
    told = next(note for note in found.notes if "inner folders" in note)
    outer = tuple(told.rsplit(": ", 1)[1].rstrip(".").split(","))
    assert outer == ("animal", "thing")
    inner = preview(root, train_values=outer)
    assert inner.class_counts == dict.fromkeys(("bus", "car", "cat", "dog"), 6)
    assert (inner.counts["train"], inner.counts["test"]) == (20, 4)


def test_a_fold_may_be_kept_for_testing_as_is_told(tmp_path):
    root = write(tmp_path, LAYOUTS["folds"])
    told = next(note for note in preview(root).notes if "are parts of the data" in note)
    assert told.endswith("name it with --test-values: fold2.")
    found = preview(root, test_values=("fold2",))
    assert (found.class_counts, found.counts) == (
        {"cat": 12, "dog": 12},
        {"train": 12, "test": 12},
    )


def test_a_class_for_testing_only_is_said(tmp_path):
    files = pictures("train/cat", "train/dog", "test/cat", "test/bird")
    found = preview(write(tmp_path, files))
    assert found.class_counts == {"bird": 6, "cat": 12, "dog": 6}
    assert any("1 class are for testing: 'bird'" in note for note in found.notes)


def test_a_class_that_may_mean_unknown_is_said_and_can_be_left_out(tmp_path):
    root = write(tmp_path, pictures("cat", "dog", "unknown"))
    found = preview(root)
    assert set(found.class_counts) == {"cat", "dog", "unknown"}
    told = next(note for note in found.notes if "'unknown'" in note)
    assert told.endswith("naming the other classes with --classes: cat,dog.")
    assert set(preview(root, classes=("cat", "dog")).class_counts) == {"cat", "dog"}


def test_an_unlabelled_folder_may_be_a_class(tmp_path):
    root = write(tmp_path, LAYOUTS["unlabelled"])
    found = preview(root, classes=("cat", "dog", "_unlabeled"))
    assert found.class_counts == {"cat": 6, "dog": 6, "_unlabeled": 6}


def test_what_is_passed_over_is_counted(tmp_path):
    notes = preview(write(tmp_path / "a", LAYOUTS["server"])).notes
    assert any("#recycle (1), @eaDir (2), Thumbs.db (1), hidden (2)" in note for note in notes)
    notes = preview(write(tmp_path / "b", LAYOUTS["sidecars"])).notes
    assert any("beside pictures (.xmp, .aae) (2)" in note for note in notes)


def test_a_folder_without_a_file_is_said_to_be_no_class(tmp_path):
    root = write(tmp_path, pictures("cat", "dog"))
    (root / "bird").mkdir()
    found = preview(root)
    assert found.classes == ("cat", "dog")
    assert any("Without a file, and so no class: the folder 'bird'." in n for n in found.notes)


def test_links_in_a_circle_end(tmp_path):
    root = write(tmp_path / "pets", pictures("cat", "dog"))
    (root / "cat" / "again").symlink_to(root, target_is_directory=True)
    (root / "cat" / "self").symlink_to(root / "cat" / "self")
    found = preview(root)
    assert found.class_counts == {"cat": 6, "dog": 6}
    assert found.problem_counts["link to a folder"] == 1
    assert found.num_refused == 2


def test_thousands_of_folders_below_a_class_are_no_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_layouts, "_MAX_CHAINS", 12)
    files = {f"{label}/patient {n}/scan/1.png": picture(n + 50 * len(label)) for n in range(20)
             for label in ("ill", "healthy")}  # fmt: skip
    assert preview(write(tmp_path, files)).class_counts == {"healthy": 20, "ill": 20}


def test_names_of_classes_that_numbers_would_merge_stay_apart(tmp_path):
    files = pictures("1", "01", "1.0", "2.0", "1.10", each=4)
    assert set(preview(write(tmp_path, files)).class_counts) == {"1", "01", "1.0", "2.0", "1.10"}
    assert {record.label for record in read(tmp_path)} == {"1", "01", "1.0", "2.0", "1.10"}


@pytest.mark.parametrize(
    ("name", "role"),
    [("train2017", "split"), ("Test images", "split"), ("train station", ""), ("trainB", "split"),
     ("valley", ""), ("test tube", ""), ("JPEGImages", "container"), ("val-masks", "about"),
     ("trainannot", "about"), ("gtFine", "about"), ("devil", ""), ("cat", "")],
)  # fmt: skip
def test_roles_are_told_by_whole_words(name, role):
    assert role_of(name) == role


def test_parts_and_masks_are_told_by_name():
    folds = ["fold1", "cv0", "part_b", "batch 12", "kfold-3"]
    assert all(map(is_fold, folds))
    assert not any(map(is_fold, ["party", "partner", "folder", "splits", "batchwise"]))
    assert masked_stem("scan 1_mask") == "scan 1"
    assert masked_stem("benign (2)_mask_1") == "benign (2)"
    assert masked_stem("mask") is None


def test_a_table_named_by_its_path_finds_its_pictures_in_a_folder_beside_it(tmp_path):
    root = write(tmp_path, LAYOUTS["table of one folder"])
    found = preview(root / "labels.csv")
    assert (found.kind, found.class_counts) == ("image", {"bar": 6, "disc": 6})
    assert any("of the folder images" in note for note in found.notes)


def test_a_table_beside_folders_has_a_truth_and_keys(tmp_path):
    files = dict(LAYOUTS["table"])
    lines = files["metadata.csv"].decode().splitlines()
    rows = [f"{line},{'disc' if n % 5 else 'bar'},k{n}" for n, line in enumerate(lines[1:])]
    files["metadata.csv"] = "\n".join([f"{lines[0]},gold,id", *rows]).encode()
    found = read(write(tmp_path, files), truth="gold", key="id")
    assert [record.truth for record in found][:2] == ["bar", "disc"]
    assert [record.key() for record in found][:2] == ["k0", "k1"]


def test_a_column_of_numbers_names_no_pictures_of_a_class(tmp_path):
    files = pictures("cat", "dog", each=12)
    files["days.csv"] = b"day,weather\n" + b"".join(f"{n},fine\n".encode() for n in range(12))
    found = preview(write(tmp_path, files))
    assert found.class_counts == {"cat": 12, "dog": 12}


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", "a" * 300, "x/" * 400])
def test_names_in_a_table_that_lead_elsewhere_find_nothing(tmp_path, name):
    (tmp_path / "secret.png").write_bytes(picture(9))
    root = write(tmp_path / "a" / "b", pictures("cat", "dog"))
    (root / "list.csv").write_text(f"file,label\n{name},x\n{name},y\n")
    assert preview(root).class_counts == {"cat": 6, "dog": 6}


def test_the_columns_of_a_table_in_a_folder_are_listed_where_roles_cannot_be_told(tmp_path):
    root = write(tmp_path, LAYOUTS["table"])
    assert [c.name for c in list_columns(root, ImportOptions())] == ["file_name", "label"]
    assert list_columns(write(tmp_path / "pets", LAYOUTS["classes"]), ImportOptions()) == ()


@pytest.mark.parametrize(
    "named",
    ["{}_thumb.png", "thumb_{}.png", "{}-150x150.png", "tn-{}.png", "thumbnails/{}.png"],
)
def test_small_copies_beside_their_pictures_are_left_out(tmp_path, named):
    files = pictures("cat", "dog")
    for number, name in enumerate(list(files)):
        folder, _, file = name.rpartition("/")
        files[f"{folder}/{named.format(file.removesuffix('.png'))}"] = picture(500 + number)
    found = preview(write(tmp_path, files))
    assert found.class_counts == {"cat": 6, "dog": 6}
    assert found.problem_counts == {"mask of another picture": 12}


@pytest.mark.parametrize("top", ["thumbs", "masks", "annotations"])
def test_a_folder_that_repeats_the_classes_is_none(tmp_path, top):
    found = preview(write(tmp_path, pictures("cat", "dog", f"{top}/cat", f"{top}/dog")))
    assert found.class_counts == {"cat": 6, "dog": 6}
    assert found.problem_counts == {"no class": 12}


def test_thumbnails_beside_two_classes_are_none_and_thumbs_may_be_one(tmp_path):
    assert preview(write(tmp_path / "a", pictures("cat", "dog", "thumbnails"))).class_counts == {
        "cat": 6,
        "dog": 6,
    }
    found = preview(write(tmp_path / "b", pictures("fist", "palm", "thumbs")))
    assert found.class_counts == {"fist": 6, "palm": 6, "thumbs": 6}
    assert any("'thumbs': if that is no class" in note for note in found.notes)


@pytest.mark.parametrize("name", ["labels.json", "cat/annotations.txt", "classes.xlsx"])
def test_what_may_be_a_table_beside_folders_is_named(tmp_path, name):
    found = preview(write(tmp_path, {**pictures("cat", "dog"), name: b"x"}))
    assert any("is left out: " + name in note for note in found.notes)


def test_pictures_beside_a_table_that_does_not_name_them_are_told(tmp_path):
    files = pictures("scans_part_1", "scans_part_2")
    rows = [f"{name[:12].replace('/', '-')}{n},{n % 7},{n * n % 11},{'ab'[n % 2]}"
            for n, name in enumerate(files)]  # fmt: skip
    files["data.csv"] = "\n".join(["id,size,age,dx", *rows]).encode()
    found = preview(write(tmp_path, files), label="dx")
    assert found.kind == "table"
    assert any("Pictures lie beside the table, as in scans_part_1" in n for n in found.notes)
