"""Pictures of 10, 12 and 16 bits: white is white, and what is lost is said."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relabel.features.image import read_image
from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions
from relabel.importers.records import SourceRecord
from relabel.importers.scan import survey_source
from tests.relabel.importers.builders import picture, preview, problems


def encode(samples: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, form)
    return buffer.getvalue()


def deep_folder(root: Path, white: int, form: str = "PNG", dtype: type = np.uint16) -> Path:
    """Make pictures whose samples go from 0 to ``white``; only one picture has white in it."""
    draw = np.random.default_rng(0)
    for number in range(8):
        high = white if number == 0 else white // 3
        samples = draw.integers(0, high, (6, 5)).astype(dtype)
        samples[0, 0] = high
        path = root / "ab"[number % 2] / f"{number}.{form.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(samples, form))
    return root


def stored(root: Path, **options: object) -> dict[str, np.ndarray]:
    """Return the pictures as an import stores them, with 8 bits."""
    source = open_source(root, ImportOptions(**options))
    survey_source(source)
    records = [r for r in source.records(check_pixels=0) if isinstance(r, SourceRecord)]
    return {r.where: np.asarray(read_image(r.image.to_file()[0], channels=1)) for r in records}


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize(("high", "white"), [(1000, 1023), (4095, 4095), (200, 255), (9000, 16383)])
def test_fewer_bits_in_files_of_sixteen_are_neither_dark_nor_clipped(tmp_path, form, high, white):
    root = deep_folder(tmp_path, high, form)
    before = {p: np.asarray(Image.open(p)).astype(float) for p in sorted(root.rglob("*.*"))}
    found = stored(root)
    for path, samples in before.items():
        expected = np.round(samples * 255 / white)
        shown = found[str(path.relative_to(root))].astype(float)
        assert np.abs(shown - expected).max() <= 1
    assert any(f"{white:,} as white" in note for note in preview(root).notes)


def test_the_range_is_that_of_the_whole_data_set_and_keys_stay_those_of_the_files(tmp_path):
    root = deep_folder(tmp_path, 4095)
    source = open_source(root, ImportOptions())
    survey_source(source)
    keys = [r.key() for r in source.records(check_pixels=0)]
    assert keys == [r.key() for r in source.read()]
    shown = {row.where: np.asarray(read_image(row.image)) for row in preview(root).rows}
    assert shown["a/0.png"].max() == 255
    assert 80 <= shown["b/1.png"].max() <= 86


def test_full_sixteen_bits_stay_as_they_are_without_a_word(tmp_path):
    root = deep_folder(tmp_path, 65535)
    source = open_source(root, ImportOptions())
    survey_source(source)
    data = {r.where: r.image.to_file()[0] for r in source.records(check_pixels=0)}
    assert data["a/0.png"] == (root / "a/0.png").read_bytes()
    assert not any("deep" in note for note in preview(root).notes)


def test_more_than_sixteen_bits_and_negative_samples_are_not_clipped(tmp_path):
    root = deep_folder(tmp_path / "deep", 1_000_000, "TIFF", np.int32)
    assert stored(root)["a/0.tiff"].max() in (243, 244)  # of 20 bits
    scans = tmp_path / "scans"
    for number in range(8):
        samples = np.array([[-1024, 0], [number, 3071]], dtype=np.int32)
        path = scans / "ab"[number % 2] / f"{number}.tiff"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(samples, "TIFF"))
    assert stored(scans)["b/1.tiff"].tolist() == [[0, 64], [64, 255]]
    assert any("-1,024 is taken as black" in note for note in preview(scans).notes)


def png_16_bit_colour(samples: np.ndarray) -> bytes:
    """Return a PNG of 16 bits a colour, which Pillow does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("high", "is_told"), [(4095, True), (65535, False)])
def test_dark_pictures_of_sixteen_bits_a_colour_are_said(tmp_path, high, is_told):
    draw = np.random.default_rng(0)
    for number in range(8):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_16_bit_colour(draw.integers(0, high, (6, 5, 3))))
    assert problems(tmp_path) == []
    assert any("nearly black" in note for note in preview(tmp_path).notes) is is_told


def test_animations_and_pages_are_said(tmp_path):
    frames = [Image.fromarray(np.full((4, 4), shade, dtype=np.uint8)) for shade in (10, 200)]
    for number in range(6):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    for name, form in (("a/film.gif", "GIF"), ("b/scan.tif", "TIFF")):
        frames[0].save(tmp_path / name, form, save_all=True, append_images=frames[1:])
    found = preview(tmp_path)
    assert found.num_usable == 8
    assert any("Of 2 pictures with several frames or pages" in note for note in found.notes)


@pytest.mark.parametrize(("high", "white"), [(0.9, 1.0), (200.0, 255.0), (4000.0, 4000.0)])
def test_fractions_have_the_range_of_the_whole_data_set(tmp_path, high, white):
    for number in range(8):
        top = high if number == 0 else high / 400
        samples = np.array([[0.0, top / 2], [top, top / (number + 3)]], dtype=np.float32)
        path = tmp_path / "ab"[number % 2] / f"{number}.tiff"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(samples, "TIFF"))
    found = stored(tmp_path)
    assert abs(int(found["a/0.tiff"].max()) - high * 255 / white) <= 1
    assert abs(int(found["b/1.tiff"].max()) - high / 400 * 255 / white) <= 1
    assert any(f"{white:,.0f} as white" in note for note in preview(tmp_path).notes)


def test_pictures_of_which_nothing_is_seen_are_said(tmp_path):
    draw = np.random.default_rng(0)
    for number in range(6):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (4, 4, 4)).astype(np.uint8)
        pixels[..., 3] = 0 if number < 2 else 255
        path.write_bytes(encode(pixels, "PNG"))
    assert any("All of 2 pictures is transparent" in note for note in preview(tmp_path).notes)
