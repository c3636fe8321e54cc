"""A folder of images: layouts, formats, and what is wrong with single files."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image

from relabel.features.image import read_image
from relabel.importers.base import make_preview
from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions
from tests.relabel.importers.builders import image_folder, pets, picture, preview, problems, read
from tracin_core.errors import InputError


def test_every_folder_is_a_class_and_the_split_is_stratified(tmp_path):
    found = preview(image_folder(tmp_path / "pets", pets(each=10)))
    assert (found.format, found.kind, found.task) == ("image-folder", "image", "classification")
    assert found.classes == ("cat", "dog")
    assert found.counts == {"train": 16, "test": 4}
    assert found.class_counts == {"cat": 10, "dog": 10}
    assert any("seed 0" in note for note in found.notes)
    assert {row.answer for row in found.rows} == {"cat", "dog"}
    assert all(read_image(row.image) for row in found.rows)


@pytest.mark.parametrize("test", ["test", "val", "Validation", "dev"])
def test_folders_for_training_and_testing_are_recognised(tmp_path, test):
    root = image_folder(tmp_path / "pets", pets("train", test))
    assert preview(root).counts == {"train": 6, "test": 6}
    assert {record.split for record in read(root)} == {"train", "test"}


def test_validation_and_test_are_both_for_testing_unless_said_otherwise(tmp_path):
    root = image_folder(tmp_path / "pets", pets("train", "val", "test"))
    assert preview(root).counts == {"train": 6, "test": 12}
    found = preview(root, test_values=("val",))
    assert found.counts == {"train": 6, "test": 6}
    assert found.problem_counts == {"left out by its split": 6}
    assert "folder 'test' is neither" in found.problems[0].message


def test_a_train_folder_alone_is_split(tmp_path):
    found = preview(image_folder(tmp_path / "pets", pets("train", each=10)))
    assert found.counts == {"train": 16, "test": 4}


def test_a_class_may_be_called_train(tmp_path):
    names = [f"{label}/{n}.png" for label in ("car", "plane", "train") for n in range(3)]
    assert preview(image_folder(tmp_path / "vehicles", names)).classes == ("car", "plane", "train")


def test_a_folder_around_everything_is_looked_through(tmp_path):
    names = [f"download/pets/{name}" for name in pets("train", "test")]
    found = preview(image_folder(tmp_path / "data", names))
    assert (found.classes, found.counts) == (("cat", "dog"), {"train": 6, "test": 6})


def test_folders_below_a_class_belong_to_it(tmp_path):
    names = [*pets(), "cat/tabby/kitten/1.png"]
    found = preview(image_folder(tmp_path / "pets", names))
    assert found.class_counts == {"cat": 4, "dog": 3}


def test_clutter_is_passed_over_and_strangers_are_named(tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    (root / "cat" / "Thumbs.db").write_bytes(b"x")
    (root / "cat" / "notes.txt").write_text("what I saw")
    (root / "loose.png").write_bytes(picture(99))
    found = {problem.where: problem for problem in problems(root)}
    assert found.keys() == {"cat/notes.txt", "loose.png"}
    assert "expected a PNG, JPEG" in found["cat/notes.txt"].message
    assert "Move it into the folder of its class" in found["loose.png"].message


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_every_format_is_kept_as_it_is(tmp_path, form):
    root = image_folder(tmp_path / "pets", pets())
    data = picture(7, form=form)
    (root / "cat" / "strange name without ending").write_bytes(data)
    image = next(r.image for r in read(root) if "strange" in r.where)
    endings = {"JPEG": ".jpg", "TIFF": ".tiff"}
    assert image.to_file() == (data, endings.get(form, f".{form.lower()}"))


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(Image.new("RGB", (8, 4)), "JPEG", exif=exif)


STRANGE = {
    "grey": encode(Image.new("L", (4, 4), 7)),
    "palette": encode(Image.new("RGB", (4, 4), (9, 9, 9)).convert("P")),
    "alpha": encode(Image.new("RGBA", (4, 4), (0, 0, 0, 0))),
    "rotated": rotated(),
    "sixteen": encode(Image.fromarray(np.full((4, 4), 65535, dtype=np.uint16))),
    "one bit": encode(Image.new("1", (4, 4))),
    "cmyk": encode(Image.new("CMYK", (4, 4)), "TIFF"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_every_kind_of_pixel_is_usable(tmp_path, name):
    root = image_folder(tmp_path / "pets", pets())
    (root / "dog" / f"{name}.png").write_bytes(STRANGE[name])
    assert problems(root) == []
    stored = next(r.image.to_file()[0] for r in read(root) if name in r.where)
    assert stored == STRANGE[name]
    assert read_image(stored).size == ((4, 8) if name == "rotated" else (4, 4))


def test_unreadable_images_are_named_and_the_others_go_on(tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    (root / "cat" / "cut.png").write_bytes(picture(50, (60, 60))[:400])
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "dog" / "page.jpg").write_bytes(b"<!doctype html><p>404")
    found = preview(root)
    assert found.num_usable == 6
    assert found.problem_counts == {"unreadable image": 3}
    told = {problem.where: problem.message for problem in found.problems}
    assert "damaged or cut off" in told["cat/cut.png"]
    assert "0 bytes" in told["cat/empty.png"]
    assert "a web page" in told["dog/page.jpg"]


def test_a_hundred_megapixels_are_refused_by_the_header(tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    (root / "cat" / "huge.png").write_bytes(encode(Image.new("1", (10_000, 10_000))))
    found = preview(root)
    assert found.problem_counts == {"image too large": 1}
    assert "10,000 x 10,000 pixels, expected at most 50 million" in found.problems[0].message
    assert "Make it smaller" in found.problems[0].message


def test_a_file_too_large_for_an_image_is_not_read(tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    with (root / "cat" / "film.png").open("wb") as file:
        file.truncate(30 * 2**20)
    assert "30 MB, expected at most 25 MB" in problems(root)[0].message


def test_links_that_leave_the_folder_are_refused(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(77))
    root = image_folder(tmp_path / "pets", pets())
    (root / "cat" / "link.png").symlink_to(secret)
    (root / "cat" / "inside.png").symlink_to(root / "dog" / "0.png")
    (root / "bird").symlink_to(tmp_path, target_is_directory=True)
    found = preview(root)
    told = {problem.where: problem for problem in found.problems}
    assert told["cat/link.png"].what == "outside the data folder"
    assert "Copy the file there" in told["cat/link.png"].message
    assert told.keys() == {"cat/link.png", "bird", "dog/0.png"}  # the last is a duplicate
    assert found.classes == ("cat", "dog")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    (root / "cat" / "0.png").chmod(0)
    assert "Mend its permissions" in problems(root)[0].message


def test_no_folder_of_a_class_is_said(tmp_path):
    root = image_folder(tmp_path / "pets", ["1.png", "2.png"])
    with pytest.raises(InputError, match=r"no folder of a class.*cat/1.jpg"):
        preview(root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="0 files"):
        preview(tmp_path / "empty")


def test_one_class_only_is_refused(tmp_path):
    root = image_folder(tmp_path / "pets", ["cat/1.png", "cat/2.png"])
    with pytest.raises(InputError, match=r"one class, 'cat'.*at least two"):
        preview(root)


def test_named_classes_keep_their_order_and_refuse_others(tmp_path):
    root = image_folder(tmp_path / "pets", [*pets(), "bird/1.png"])
    found = preview(root, classes=("dog", "cat"))
    assert found.classes == ("dog", "cat")
    assert found.problem_counts == {"unknown class": 1}


def test_a_preview_of_many_pixels_looks_at_headers_and_the_import_at_all(tmp_path, monkeypatch):
    root = image_folder(tmp_path / "pets", pets())
    (root / "dog" / "z.png").write_bytes(picture(50, (60, 60))[:400])
    monkeypatch.setattr("relabel.importers.base.PREVIEW_MEGAPIXELS", 0.0001)
    source = open_source(root, ImportOptions())
    assert make_preview(source).num_refused == 0
    assert [p.where for p in source.records() if not hasattr(p, "label")] == ["dog/z.png"]


def test_the_order_and_the_split_are_the_same_every_time(tmp_path):
    root = image_folder(tmp_path / "pets", pets(each=10))
    assert [r.where for r in read(root)] == [r.where for r in read(root)]
    first, second = preview(root, seed=3), preview(root, seed=3)
    assert [row.split for row in first.rows] == [row.split for row in second.rows]


@pytest.mark.parametrize(
    "folders",
    [
        ("training_set", "test_set"),
        ("Train", "Test"),
        ("my-train-images", "validation images", "test images"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("around/seg_train/seg_train", "around/seg_test/seg_test"),
    ],
)
def test_folders_called_like_a_split_hold_the_classes(tmp_path, folders):
    found = preview(image_folder(tmp_path / "pets", pets(*folders, each=2)))
    assert set(found.class_counts) == {"cat", "dog"}
    assert found.counts == {"train": 4, "test": 4 * (len(folders) - 1)}


def test_classes_with_such_words_in_their_names_are_classes(tmp_path):
    names = [
        f"{label}/{part}/{n}.png"
        for label, part in [("train station", "night"), ("test tube", "empty"), ("car", "red")]
        for n in range(3)
    ]
    found = preview(image_folder(tmp_path / "things", names))
    assert set(found.class_counts) == {"car", "test tube", "train station"}


def test_links_to_the_folders_of_classes_are_said(tmp_path):
    store = image_folder(tmp_path / "store", pets())
    (tmp_path / "pets").mkdir()
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).symlink_to(store / label, target_is_directory=True)
    with pytest.raises(InputError, match=r"2 of them links to folders, which are not followed"):
        preview(tmp_path / "pets")


def test_a_readme_beside_the_folders_of_a_download_is_no_class(tmp_path):
    names = [f"download/{name}" for name in pets("train", "test")]
    root = image_folder(tmp_path / "pets", names)
    (root / "download" / "README.txt").write_text("about the pets")
    found = preview(root)
    assert (found.classes, found.counts) == (("cat", "dog"), {"train": 6, "test": 6})
    assert found.problem_counts == {"in no class folder": 1}
