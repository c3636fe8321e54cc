"""Arrays in an ``.npz`` file: images, rows of numbers, and what is refused."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from relabel.features.image import read_image
from tests.relabel.importers.builders import make_zip, preview, problems, read
from tracin_core.errors import InputError

DRAW = np.random.default_rng(0)
LABELS = np.arange(20) % 4


def images(*shape, dtype=np.uint8, count=20):
    return DRAW.integers(0, 256, (count, *shape)).astype(dtype)


def save(tmp_path, compressed=False, **arrays):
    path = tmp_path / "data.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_for_training_and_testing(tmp_path, compressed):
    x, y = images(5, 7), LABELS.astype(np.uint8)
    path = save(tmp_path, compressed, x_train=x[:15], y_train=y[:15], x_test=x[15:], y_test=y[15:])
    found = preview(path)
    assert (found.format, found.kind, found.target) == ("npz", "image", "y_train")
    assert found.counts == {"train": 15, "test": 5}
    assert found.classes == ("0", "1", "2", "3")
    stored = np.asarray(read_image(read(path)[17].image.to_file()[0], channels=1))
    np.testing.assert_array_equal(stored, x[17])
    assert read(path)[17].where == "x_test[2]"


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [("x", "y"), ("X", "y"), ("images", "labels"), ("data", "target"), ("X_train", "y_train")],
)
def test_arrays_are_found_by_name(tmp_path, inputs, labels):
    found = preview(save(tmp_path, **{inputs: images(4, 4), labels: LABELS}))
    assert (found.kind, found.target, found.num_usable) == ("image", labels, 20)


def test_other_names_are_asked_for_and_can_be_given(tmp_path):
    path = save(tmp_path, arr_0=images(4, 4), arr_1=LABELS)
    with pytest.raises(InputError, match=r"arr_0 \(20, 4, 4\) uint8, arr_1.*--image"):
        preview(path)
    assert preview(path, image="arr_0", label="arr_1").num_usable == 20
    with pytest.raises(InputError, match="no array 'arr_2'"):
        preview(path, image="arr_2", label="arr_1")


@pytest.mark.parametrize(
    ("shape", "mode", "size"),
    [
        ((4, 6), "L", (6, 4)),
        ((4, 6, 1), "L", (6, 4)),
        ((4, 6, 3), "RGB", (6, 4)),
        ((4, 6, 4), "RGBA", (6, 4)),
        ((1, 4, 6), "L", (6, 4)),
        ((3, 4, 6), "RGB", (6, 4)),
    ],
)
def test_channels_may_come_first_or_last(tmp_path, shape, mode, size):
    from io import BytesIO

    from PIL import Image

    x = images(*shape)
    data = read(save(tmp_path, x=x, y=LABELS))[0].image.to_file()[0]
    image = Image.open(BytesIO(data))
    assert (image.mode, image.size) == (mode, size)
    expected = x[0].transpose(1, 2, 0) if shape[0] in (1, 3) else x[0]
    np.testing.assert_array_equal(np.asarray(image), expected.squeeze())


def test_sixteen_bits_and_black_and_white_are_images(tmp_path):
    deep = read(save(tmp_path, x=images(4, 4, dtype=np.uint16) * 257, y=LABELS))[0]
    assert np.asarray(read_image(deep.image.to_file()[0], channels=1)).max() > 100
    flat = read(save(tmp_path, x=images(4, 4) > 99, y=LABELS))[0]
    assert set(np.unique(np.asarray(read_image(flat.image.to_file()[0])))) == {0, 255}


def test_rows_of_numbers_are_a_table(tmp_path):
    x = DRAW.normal(size=(20, 12)).astype(np.float32)
    x[3, 2] = np.nan
    path = save(tmp_path, data=x, target=LABELS, target_names=np.array(["a", "b", "c", "d"]))
    found = preview(path)
    assert (found.kind, found.classes) == ("table", ("a", "b", "c", "d"))
    assert [c.name for c in found.columns][::11] == ["x01", "x12"]
    fields = read(path)[3].fields
    assert fields["x03"] is None
    assert fields["x01"] == pytest.approx(float(x[3, 0]))


def test_measures_are_a_regression_and_broken_ones_are_named(tmp_path):
    y = np.linspace(0.5, 9.7, 20)
    y[4] = np.nan
    found = preview(save(tmp_path, x=DRAW.normal(size=(20, 3)), y=y))
    assert (found.task, found.num_usable) == ("regression", 19)
    assert [(p.where, p.what) for p in found.problems] == [("x[4]", "no number")]


def test_infinite_inputs_are_named(tmp_path):
    x = DRAW.normal(size=(20, 3))
    x[7, 1] = np.inf
    assert [p.where for p in problems(save(tmp_path, x=x, y=LABELS))] == ["x[7]"]


def test_whole_numbers_stored_as_floats_are_classes(tmp_path):
    assert preview(save(tmp_path, x=images(4, 4), y=LABELS * 1.0)).classes == ("0", "1", "2", "3")


def test_integers_may_be_predicted_as_numbers(tmp_path):
    found = preview(save(tmp_path, x=DRAW.normal(size=(20, 3)), y=LABELS), target="y")
    assert found.task == "regression"


def test_words_are_labels(tmp_path):
    found = preview(save(tmp_path, x=images(4, 4), y=np.array(["cat", "dog"] * 10)))
    assert found.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": images(4, 4), "y": LABELS[:7]}, "their first sizes differ"),
        ({"x": images(4, 4) / 255.0, "y": LABELS}, r"\(array \* 255\)"),
        ({"x": images(5, 4, 9), "y": LABELS}, "1, 3 or 4 channels"),
        ({"x": np.zeros((20, 1500)), "y": LABELS}, "at most 1,000"),
        ({"x": np.zeros(20), "y": LABELS}, "one number for each example"),
        ({"x": images(4, 4), "y": np.eye(20)}, r"argmax\(axis=1\)"),
        ({"x": np.asfortranarray(images(4, 4)), "y": LABELS}, "ascontiguousarray"),
        ({"x": np.array([{}] * 20), "y": LABELS}, "Python objects|one number for each"),
        ({"x": images(4, 4), "y": np.array([{}] * 20)}, "labels is|Python objects"),
        ({"x": np.array([["a", "b"]] * 20), "y": LABELS}, "holds no numbers"),
        ({"x_train": images(4, 4), "y_train": LABELS}
         | {"x_test": images(5, 5), "y_test": LABELS}, "differ in shape or type"),
    ],
)  # fmt: skip
def test_other_arrays_are_refused_with_the_way_out(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message):
        preview(save(tmp_path, **arrays))


def test_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    rows = np.empty((20, 4), dtype=object)
    rows[:] = Bomb()
    with pytest.raises(InputError):
        preview(save(tmp_path, x=rows, y=LABELS))
    assert not (tmp_path / "ran").exists()


def test_pictures_of_several_sizes_are_objects_and_said_to_be(tmp_path):
    path = tmp_path / "data.npz"
    pictures = np.array([np.zeros((n + 2, 3)) for n in range(4)], dtype=object)
    np.savez(path, x=pictures, y=np.arange(4) % 2)
    with pytest.raises(InputError, match=r"holds Python objects.*np\.stack"):
        preview(path)


def test_damaged_files_are_refused(tmp_path):
    path = save(tmp_path, x=images(40, 40), y=LABELS)
    data = bytearray(path.read_bytes())
    data[5000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"Save it again"):
        preview(path)
    path.write_bytes(b"PK no archive")
    with pytest.raises(InputError, match="no kind that can be imported"):
        preview(path)


def test_the_truth_is_an_array_for_each_part(tmp_path):
    x, y = images(4, 4), LABELS.astype(np.uint8)
    truth = (LABELS + 1) % 4
    arrays = {"x_train": x[:15], "y_train": y[:15], "x_test": x[15:], "y_test": y[15:]}
    named = {"truth_train": truth[:15], "truth_test": truth[15:]}
    path = save(tmp_path, **arrays, **named)
    assert [r.truth for r in read(path, truth="truth")] == [str(label) for label in truth]
    assert [r.truth for r in read(path)] == [None] * 20
    assert any("--truth truth uses it" in note for note in preview(path).notes)
    alone = read(path, truth="truth_train")
    assert [r.truth for r in alone] == [str(label) for label in truth[:15]] + [None] * 5
    named = read(path, truth="truth", classes=("a", "b", "c", "d"))
    assert [(r.label, r.truth) for r in named][:2] == [("a", "b"), ("b", "c")]


def test_the_truth_of_one_pair_is_named_alone(tmp_path):
    words = np.array(["cat", "dog"] * 10)
    path = save(tmp_path, x=images(4, 4), y=words, y_true=words[::-1])
    assert [r.truth for r in read(path, truth="y_true")] == list(words[::-1])
    values = save(tmp_path, x=DRAW.normal(size=(20, 3)), y=np.linspace(0.5, 9, 20), t=np.arange(20))
    assert [r.truth for r in read(values, truth="t")] == list(range(20))


def test_a_truth_that_is_not_there_or_does_not_fit_is_refused(tmp_path):
    path = save(tmp_path, x=images(4, 4), y=LABELS, t=LABELS[:3], pairs=np.eye(20))
    with pytest.raises(InputError, match=r"no array 'truth', named as the truth.*pairs \(20, 20\)"):
        preview(path, truth="truth")
    for name in ("t", "pairs"):
        with pytest.raises(InputError, match="one value for each example"):
            preview(path, truth=name)


def test_keys_and_splits_are_arrays_too(tmp_path):
    keys = np.array([f"key-{n}" for n in range(20)])
    parts = np.array(["train"] * 15 + ["test"] * 5)
    path = save(tmp_path, x=images(4, 4), y=LABELS, ids=keys, part=parts)
    found = read(path, key="ids", split="part")
    assert [r.key() for r in found] == list(keys)
    assert preview(path, split="part").counts == {"train": 15, "test": 5}
    swapped = preview(path, split="part", train_values=("test",), test_values=("train",))
    assert swapped.counts == {"train": 5, "test": 15}
    both = save(tmp_path, x_train=images(4, 4), y_train=LABELS, part_train=parts)
    with pytest.raises(InputError, match="--split has no effect: the arrays' names say"):
        preview(both, split="part")


def test_words_that_are_numbers_stay_as_they_are_written(tmp_path):
    versions = np.array(["1.0", "1", "2.0", "1.10"] * 5)
    found = preview(save(tmp_path, x=images(4, 4), y=versions))
    assert set(found.classes) == {"1.0", "1", "2.0", "1.10"}
    found = preview(save(tmp_path, x=images(4, 4), y=versions), classes=("2.0", "1.0", "1", "1.10"))
    assert (found.classes[0], found.problem_counts) == ("2.0", {})


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (1, 4, 6)])
def test_fewer_bits_than_sixteen_are_not_dark(tmp_path, shape):
    x = images(*shape, dtype=np.uint16) * 16  # 12 bits
    path = save(tmp_path, x=x, y=LABELS)
    shown = np.asarray(read_image(read(path)[0].image.to_file()[0], channels=1))
    assert np.abs(shown - x[0].reshape(4, 6) / 4095 * 255).max() <= 1
    assert any("4,095 is taken as white" in note for note in preview(path).notes)


def test_pictures_that_are_nearly_black_are_said(tmp_path):
    path = save(tmp_path, x=images(4, 4) % 17, y=LABELS)
    assert any("(array.astype('float') * 15.9375)" in note for note in preview(path).notes)
    assert not any("black" in n for n in preview(save(tmp_path, x=images(4, 4), y=LABELS)).notes)


WAYS = {
    "fraction": (images(4, 4) / 255.0, r"save (.*)\."),
    "centred": (images(4, 4) / 127.5 - 1, r"save (.*)\."),
    "bytes": (images(4, 4).astype(np.int64), r"255 is white, save (.*?);"),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_way_out_that_is_told_gives_the_pictures(tmp_path, name):
    array, told = WAYS[name]
    with pytest.raises(InputError, match="no agreed black and white") as error:
        preview(save(tmp_path, x=array, y=LABELS))
    import re

    way = re.search(told, str(error.value))[1].rstrip(".")
    made = eval(way, {"array": array})  # noqa: S307 - what a person would type
    expected = images_of(name, array)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, expected)


def images_of(name, array):
    """Return the bytes that an array was made of."""
    scale, shift = {"fraction": (255, 0), "centred": (127.5, 1), "bytes": (1, 0)}[name]
    return np.rint((array + shift) * scale).astype(np.uint8)


def test_several_columns_of_an_array_cannot_be_chosen(tmp_path):
    path = save(tmp_path, x=DRAW.normal(size=(20, 3)), y=LABELS)
    with pytest.raises(InputError, match="--features has no effect"):
        preview(path, features=("x1", "x2"))


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((28 * 28,), r"array.reshape(-1, 28, 28)"),
        ((8 * 8 * 3,), r"array.reshape(-1, 8, 8, 3)"),
        ((3, 5, 3), "transpose(0, 2, 3, 1)"),
        ((4, 5, 4), "taken as transparency"),
        ((5, 6), None),
        ((65,), None),
    ],
)
def test_shapes_that_could_mean_something_else_are_said(tmp_path, shape, told):
    notes = preview(save(tmp_path, x=images(*shape), y=LABELS)).notes
    words = ("reshape", "transpose", "transparency")
    assert (
        any(told in note for note in notes)
        if told
        else not any(word in note for note in notes for word in words)
    )


def noisy(**labels):
    x = images(4, 4)
    return {"x_train": x[:15], "x_test": x[15:], "y_test": LABELS[15:], **labels}


def test_labels_of_a_longer_name_are_found_or_asked_for(tmp_path):
    path = save(tmp_path, **noisy(y_train_noisy=LABELS[:15]))
    assert preview(path).counts == {"train": 15, "test": 5}
    path = save(tmp_path, **noisy(y_train_a=LABELS[:15], y_train_b=LABELS[:15]))
    with pytest.raises(
        InputError, match=r"'x_train' has several .*: y_train_a, y_train_b.*--label"
    ):
        preview(path)
    found = preview(path, label="y_train_b")
    assert (found.target, found.counts) == ("y_train_b", {"train": 15, "test": 5})
    path = save(tmp_path, **noisy(truth_train=LABELS[:15]))
    with pytest.raises(InputError, match="'x_train' has no array of labels"):
        preview(path)


def test_labels_that_parts_share_are_named_once(tmp_path):
    path = save(tmp_path, **noisy(fine_train=LABELS[:15], fine_test=LABELS[15:] + 4))
    assert preview(path, label="fine").class_counts["7"] == 2
    assert preview(path, label="fine_train").class_counts["7"] == 2
    with pytest.raises(InputError, match="no array 'coarse'"):
        preview(path, label="coarse")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.eye(4)[LABELS], r"one-hot labels save labels.argmax\(axis=1\)"),
        (np.eye(4)[LABELS] + np.eye(4)[0], "If they are shares of classes"),
        (np.maximum(np.eye(4)[LABELS], np.eye(4)[0]), "15 examples have no class or several"),
        (np.full((20, 3), 0.4), "keeps the largest alone"),
    ],
)
def test_several_numbers_for_an_example_are_told_by_what_they_are(tmp_path, labels, told):
    with pytest.raises(InputError, match=told):
        preview(save(tmp_path, x=images(4, 4), y=labels))


@pytest.mark.parametrize("header", [b"{'descr': (\n", b'"""\n', b"(" * 5000, b"[" * 90 + b"]" * 90])
def test_a_header_that_is_no_python_is_said(tmp_path, header):
    start = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little")
    path = make_zip(tmp_path / "data.npz", {"x.npy": start + header, "y.npy": start + header})
    with pytest.raises(InputError, match=r"cannot be read as an \.npz file of arrays"):
        preview(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_arrays_that_are_packed_otherwise_than_they_say_are_damaged(tmp_path, method):
    path = save(tmp_path, x=images(4, 4), y=LABELS)
    data = bytearray(path.read_bytes())
    data[8] = data[data.index(b"PK\x01\x02") + 10] = method
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cannot be read as an \.npz file of arrays"):
        preview(path)
