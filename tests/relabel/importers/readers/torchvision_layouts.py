"""Small data sets in the files that torchvision's classes expect, one function a set."""

from __future__ import annotations

import bz2
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.relabel.importers.builders import picture

FOODS = ("apple_pie", "waffles")
TRAIN, TEST = 8, 4  # images of each split, of the classes 0 and 1 in turn


def write_usps(root: Path, _: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    for name, count in (("usps.bz2", TRAIN), ("usps.t.bz2", TEST)):
        rows = draw.uniform(-1, 1, (count, 256))
        lines = [
            f"{number % 2 + 1} " + " ".join(f"{n + 1}:{v:.4f}" for n, v in enumerate(row))
            for number, row in enumerate(rows)
        ]
        (root / name).write_bytes(bz2.compress("\n".join(lines).encode()))


def write_stl10(root: Path, patch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import STL10

    folder = root / "stl10_binary"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name, count in (("train", TRAIN), ("test", TEST), ("unlabeled", 2)):
        pixels = draw.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)
        (folder / f"{name}_X.bin").write_bytes(pixels.tobytes())
        labels = (np.arange(count) % 2 + 1).astype(np.uint8)
        (folder / f"{name}_y.bin").write_bytes(labels.tobytes())
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    for field in ("train_list", "test_list"):
        listed = [[name, md5(folder / name)] for name, _ in getattr(STL10, field)]
        patch.setattr(STL10, field, listed)


def write_flowers(root: Path, patch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat
    from torchvision.datasets import Flowers102

    folder = root / "flowers-102"
    count = TRAIN + TEST + 2
    write_pictures(folder / "jpg", [f"image_{n + 1:05d}.jpg" for n in range(count)])
    savemat(folder / "imagelabels.mat", {"labels": np.arange(count) % 2 + 1})
    numbers = np.arange(1, count + 1)
    ids = {"trnid": numbers[:TRAIN], "tstid": numbers[TRAIN:-2], "valid": numbers[-2:]}
    savemat(folder / "setid.mat", ids)
    # torchvision knows the sums of the real files.
    sums = {
        part: (name, md5(folder / name)) if part != "image" else (name, known)
        for part, (name, known) in Flowers102._file_dict.items()
    }
    patch.setattr(Flowers102, "_file_dict", sums)


def write_food(root: Path, _: pytest.MonkeyPatch) -> None:
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    for split, count in (("train", TRAIN), ("test", TEST)):
        names = [f"{FOODS[n % 2]}/{split}{n}" for n in range(count)]
        write_pictures(folder / "images", [f"{name}.jpg" for name in names])
        listed = {label: [n for n in names if n.startswith(label)] for label in FOODS}
        (folder / "meta" / f"{split}.json").write_text(json.dumps(listed))


def write_pets(root: Path, _: pytest.MonkeyPatch) -> None:
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for split, count in (("trainval", TRAIN), ("test", TEST)):
        first = 1 if split == "trainval" else 100
        names = [f"{('Abyssinian', 'american_bulldog')[n % 2]}_{first + n}" for n in range(count)]
        write_pictures(folder / "images", [f"{name}.jpg" for name in names])
        lines = [f"{name} {n % 2 + 1} {n % 2 + 1} 1" for n, name in enumerate(names)]
        (folder / "annotations" / f"{split}.txt").write_text("\n".join(lines) + "\n")


def write_dtd(root: Path, _: pytest.MonkeyPatch) -> None:
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for split, count in (("train", TRAIN), ("val", 2), ("test", TEST)):
        names = [f"{('banded', 'zigzagged')[n % 2]}/{split}_{n}.jpg" for n in range(count)]
        write_pictures(folder / "images", names)
        (folder / "labels" / f"{split}1.txt").write_text("\n".join(names) + "\n")


def write_aircraft(root: Path, _: pytest.MonkeyPatch) -> None:
    folder = root / "fgvc-aircraft-2013b" / "data"
    for split, count, first in (("trainval", TRAIN, 0), ("test", TEST, 100)):
        numbers = [f"{first + n:07d}" for n in range(count)]
        write_pictures(folder / "images", [f"{number}.jpg" for number in numbers])
        lines = [f"{one} {('707-320', 'An-12')[n % 2]}" for n, one in enumerate(numbers)]
        (folder / f"images_variant_{split}.txt").write_text("\n".join(lines) + "\n")
    (folder / "variants.txt").write_text("707-320\nAn-12\n")


def write_signs(root: Path, _: pytest.MonkeyPatch) -> None:
    folder = root / "gtsrb"
    for label in range(2):
        names = [f"{n:05d}_00000.ppm" for n in range(TRAIN // 2)]
        write_pictures(folder / "GTSRB" / "Training" / f"{label:05d}", names, 10 * label)
    tests = [f"{n:05d}.ppm" for n in range(TEST)]
    write_pictures(folder / "GTSRB" / "Final_Test" / "Images", tests, 50)
    lines = [f"{name};53;54;6;5;48;49;{n % 2}" for n, name in enumerate(tests)]
    head = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
    (folder / "GT-final_test.csv").write_text("\n".join([head, *lines]) + "\n")


def write_pictures(folder: Path, names: list[str], first: int = 0) -> None:
    for number, name in enumerate(names, first):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = number + sum(name.encode())
        path.write_bytes(picture(seed, form="PPM" if name.endswith("ppm") else "JPEG"))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


# Name, writer, the first two classes.
LAYOUTS: list[tuple[str, Callable[[Path, pytest.MonkeyPatch], None], tuple[str, str]]] = [
    ("USPS", write_usps, ("0", "1")),
    ("STL10", write_stl10, ("airplane", "bird")),
    ("Flowers102", write_flowers, ("pink primrose", "hard-leaved pocket orchid")),
    ("Food101", write_food, ("apple_pie", "waffles")),
    ("OxfordIIITPet", write_pets, ("Abyssinian", "American Bulldog")),
    ("DTD", write_dtd, ("banded", "zigzagged")),
    ("FGVCAircraft", write_aircraft, ("707-320", "An-12")),
    ("GTSRB", write_signs, ("0", "1")),
]
