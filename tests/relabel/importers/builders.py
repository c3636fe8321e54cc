"""Data as people have it, made small."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions
from relabel.importers.records import Preview, Problem, SourceRecord


def picture(number: int = 0, size: tuple[int, int] = (6, 4), form: str = "PNG") -> bytes:
    """Return an image file that differs for every number."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def image_folder(root: Path, names: Iterable[str]) -> Path:
    """Make a folder with a different picture under every name."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return root


def pets(*folders: str, each: int = 3) -> list[str]:
    """Return names of pictures of cats and dogs, in folders such as "train"."""
    return [
        f"{folder}/{label}/{number}.png" if folder else f"{label}/{number}.png"
        for folder in folders or ("",)
        for label in ("cat", "dog")
        for number in range(each)
    ]


def make_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """Make a tar archive; a member may be given as a header alone, such as a link's."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
            else:
                header = tarfile.TarInfo(name)
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))
    return path


def texts(path: Path, rows: int = 40, extra: str = "") -> Path:
    """Make a CSV of texts of two classes."""
    lines = [f"the text of number {n} is this,{'good' if n % 2 else 'bad'}" for n in range(rows)]
    path.write_text("text,label\n" + "\n".join(lines) + "\n" + extra, encoding="utf-8")
    return path


def preview(path: Path, rows: int = 20, **options: object) -> Preview:
    return open_source(path, ImportOptions(**options)).preview(rows)


def read(path: Path, **options: object) -> list[SourceRecord]:
    """Return the usable records."""
    records = open_source(path, ImportOptions(**options)).records()
    return [record for record in records if isinstance(record, SourceRecord)]


def problems(path: Path, **options: object) -> list[Problem]:
    """Return what is wrong with single records."""
    records = open_source(path, ImportOptions(**options)).records()
    return [record for record in records if isinstance(record, Problem)]
