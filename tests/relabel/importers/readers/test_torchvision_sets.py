"""torchvision's data sets, in files of their own formats."""

from __future__ import annotations

import hashlib
import pickle
import struct

import numpy as np
import pytest

from relabel.features.image import read_image
from relabel.importers.readers import torchvision
from tests.relabel.importers.builders import preview, read
from tests.relabel.importers.readers.torchvision_layouts import LAYOUTS, TEST, TRAIN, write_dtd
from tracin_core.errors import InputError

DRAW = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    """Return an array of bytes in the format of MNIST."""
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def mnist(root, name="MNIST", prefix="", classes=10):
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    images = {}
    for split, part, count in (("train", "train", 30), ("test", "t10k", 10)):
        part = f"{prefix}{split if prefix else part}"
        images[split] = DRAW.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images[split]))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % classes))
    return images


@pytest.mark.parametrize(
    ("name", "first"),
    [("MNIST", "0 - zero"), ("FashionMNIST", "T-shirt/top"), ("KMNIST", "o")],
)
def test_the_mnist_family_is_recognised_by_its_folder(tmp_path, name, first):
    images = mnist(tmp_path, name)
    found = preview(tmp_path)
    assert (found.format, found.options.dataset, found.classes[0]) == ("torchvision", name, first)
    assert found.counts == {"train": 30, "test": 10}
    last = read(tmp_path)[-1]
    assert last.where == "test[9]"
    stored = np.asarray(read_image(last.image.to_file()[0], channels=1))
    np.testing.assert_array_equal(stored, images["test"][-1])


@pytest.mark.parametrize("part", ["balanced", "byclass", "bymerge", "letters", "digits", "mnist"])
def test_a_set_with_parts_is_named_with_its_part(tmp_path, part):
    mnist(tmp_path, "EMNIST", prefix=f"emnist-{part}-")
    found = preview(tmp_path, dataset=f"emnist-{part}")
    assert found.counts == {"train": 30, "test": 10}
    assert found.options.dataset == f"EMNIST-{part}"
    assert sum(found.class_counts.values()) == 40


def test_classes_that_are_folders_are_read_too(tmp_path):
    for label in ("Forest", "River"):
        folder = tmp_path / "eurosat" / "2750" / label
        folder.mkdir(parents=True)
        for number in range(5):
            pixels = DRAW.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            from PIL import Image

            Image.fromarray(pixels).save(folder / f"{number}.png")
    found = preview(tmp_path)
    assert (found.options.dataset, found.classes) == ("EuroSAT", ("Forest", "River"))
    assert found.counts == {"train": 8, "test": 2}


def test_a_set_in_matlab_format_is_read(tmp_path, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    sums = {}
    for split, count in (("train", 20), ("test", 10)):
        path = tmp_path / f"{split}_32x32.mat"
        images = DRAW.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        savemat(path, {"X": images, "y": (np.arange(count) % 10 + 1)[:, None]})
        sums[split] = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    # torchvision knows the sums of the real files, which are 200 MB.
    parts = {k: [*v[:2], sums[k]] for k, v in SVHN.split_list.items() if k in sums}
    monkeypatch.setattr(SVHN, "split_list", parts)
    found = preview(tmp_path)
    assert (found.options.dataset, found.counts) == ("SVHN", {"train": 20, "test": 10})
    assert found.classes == tuple("0123456789")


@pytest.mark.parametrize(("name", "write", "classes"), LAYOUTS, ids=[one[0] for one in LAYOUTS])
def test_a_set_in_its_own_files_is_recognised_and_read(tmp_path, monkeypatch, name, write, classes):
    write(tmp_path, monkeypatch)
    found = preview(tmp_path)
    assert (found.format, found.options.dataset) == ("torchvision", name)
    assert found.classes[:2] == classes
    assert found.counts == {"train": TRAIN, "test": TEST}
    assert found.problem_counts == {}
    labels = [(record.split, record.label) for record in read(tmp_path)]
    for split, each in (("train", TRAIN // 2), ("test", TEST // 2)):
        assert [labels.count((split, label)) for label in classes] == [each, each]
    assert {record.image.pixels.ndim for record in read(tmp_path)} <= {2, 3}


@pytest.mark.parametrize(("name", "write", "classes"), LAYOUTS, ids=[one[0] for one in LAYOUTS])
def test_a_set_with_a_damaged_file_is_said(tmp_path, monkeypatch, name, write, classes):
    write(tmp_path, monkeypatch)
    for path in sorted(tmp_path.rglob("*")):
        if path.is_file():
            path.write_bytes(b"no longer what it was")
    with pytest.raises(InputError, match=f"torchvision cannot read {name} from .*download"):
        preview(tmp_path)


def test_a_part_that_is_left_out_is_said(tmp_path, monkeypatch):
    write_dtd(tmp_path, monkeypatch)
    assert any("validation is left out" in note for note in preview(tmp_path).notes)


def write_cifar(root, name="CIFAR10", protocol=2):
    folder = root / torchvision.FOLDERS[name]
    folder.mkdir(parents=True)
    names, labels = torchvision._NAMES[name], torchvision._LABELS[name]
    images = {}
    for files in torchvision.FILES[name].values():
        for file in files:
            pixels = DRAW.integers(0, 256, (8, 3072), dtype=np.uint8)
            images[file] = pixels
            batch = {"data": pixels, labels: [n % 4 for n in range(8)], "batch_label": file}
            (folder / file).write_bytes(pickle.dumps(batch, protocol=protocol))
    meta = {names[1]: ["plane", "car", "bird", "cat"]}
    (folder / names[0]).write_bytes(pickle.dumps(meta, protocol=protocol))
    return folder, images


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(("name", "counts"), [("CIFAR10", (40, 8)), ("CIFAR100", (8, 8))])
def test_cifar_is_read_without_unpickling_code(tmp_path, name, counts, protocol):
    _, images = write_cifar(tmp_path, name, protocol)
    found = preview(tmp_path)
    assert (found.options.dataset, found.classes) == (name, ("plane", "car", "bird", "cat"))
    assert tuple(found.counts.values()) == counts
    first = read(tmp_path)[0]
    expected = images[torchvision.FILES[name]["train"][0]][0].reshape(3, 32, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(np.asarray(read_image(first.image.to_file()[0])), expected)


def test_cifar_as_python_2_wrote_it_is_read(tmp_path):
    """The published files hold byte strings and numpy.core, which pickle no longer writes."""
    folder, images = write_cifar(tmp_path)
    pixels = images["test_batch"]
    data = pixels.tobytes()
    size = struct.pack("<i", len(data))
    pickled = (
        b"\x80\x02}q\x01(U\x04dataq\x02"
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x08M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + size + data + b"tb"
        b"U\x06labels](K\x00K\x01K\x02K\x03K\x00K\x01K\x02K\x03eu."
    )
    (folder / "test_batch").write_bytes(pickled)
    found = list(torchvision.read_batch("CIFAR10", folder / "test_batch"))
    assert [label for _, label in found] == [0, 1, 2, 3] * 2
    np.testing.assert_array_equal(found[3][0], pixels[3].reshape(3, 32, 32).transpose(1, 2, 0))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("place", ["test_batch", "batches.meta"])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, place):
    folder, _ = write_cifar(tmp_path)
    (folder / place).write_bytes(pickle.dumps({"data": Bomb(str(tmp_path / "ran"))}))
    with pytest.raises(InputError, match=r"a call of .*open.*could run code"):
        preview(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "batch",
    [
        {"data": np.zeros((2, 3072)), "labels": [0, 1]},
        {"data": np.zeros((2, 5), np.uint8), "labels": [0, 1]},
        {"data": np.zeros((3, 3072), np.uint8), "labels": [0, 1]},
        {"labels": [0, 1]},
        [1, 2],
    ],
)
def test_other_contents_are_refused(tmp_path, batch):
    folder, _ = write_cifar(tmp_path)
    (folder / "test_batch").write_bytes(pickle.dumps(batch))
    with pytest.raises(InputError, match="no file of CIFAR"):
        preview(tmp_path)


def test_missing_and_cut_off_files_are_said(tmp_path):
    folder, _ = write_cifar(tmp_path)
    data = (folder / "data_batch_3").read_bytes()
    (folder / "data_batch_3").write_bytes(data[:500])
    with pytest.raises(InputError, match="Download the data set again"):
        preview(tmp_path)
    (folder / "data_batch_3").unlink()
    with pytest.raises(InputError, match=r"data_batch_3 cannot be read"):
        preview(tmp_path)


def test_a_set_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match=r"MNIST\(folder, download=True\)"):
        preview(tmp_path, dataset="MNIST")
    with pytest.raises(InputError, match=r"'ImageNet'.*MNIST, FashionMNIST"):
        preview(tmp_path, dataset="ImageNet")


def test_a_pickle_that_asks_for_all_memory_gets_none(tmp_path):
    import resource

    folder, _ = write_cifar(tmp_path)
    # "Remember this as number 4,000,000,000": 64 GB in the unpickler written in C.
    (folder / "test_batch").write_bytes(b"\x80\x02}r" + struct.pack("<I", 4_000_000_000) + b".")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="no file of CIFAR"):
        preview(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes
