"""HEIC and AVIF: read where what decodes them is installed, else said with the way to it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, features

from relabel.features import image as pictures
from relabel.features.image import inspect_image, list_formats, measure_depth, read_image
from relabel.importers.columns.values import holds_image
from tests.relabel.importers.builders import image_folder, pets, preview, problems, read
from tracin_core.errors import InputError


def encode(form: str, size=(32, 16), colour=(200, 40, 40)) -> bytes:
    """Return a picture of one colour."""
    list_formats()  # registers what encodes it
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, form, quality=90)
    return buffer.getvalue()


@pytest.fixture(params=["HEIF", "AVIF"])
def form(request):
    if request.param == "HEIF":
        pytest.importorskip("pillow_heif")
    elif not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    return request.param


def test_it_is_read_kept_and_bounded_as_other_pictures(tmp_path, form, monkeypatch):
    data = encode(form)
    header = inspect_image(data)
    assert (header.format, header.width, header.height) == (form, 32, 16)
    mean = np.asarray(read_image(data)).mean(axis=(0, 1))
    assert np.abs(mean - (200, 40, 40)).max() < 12
    assert (measure_depth(data).is_empty, holds_image(data)) == (False, True)
    root = image_folder(tmp_path / "pets", pets(each=4))
    ending = pictures.SUFFIXES[form]
    (root / "cat" / f"phone{ending}").write_bytes(data)
    (root / "cat" / f"cut{ending}").write_bytes(data[: len(data) * 2 // 3])
    files = {one.image.to_file() for one in read(root)}
    assert (data, ending) in files
    assert [one.where for one in problems(root)] == [f"cat/cut{ending}"]
    with pytest.raises(InputError, match=r"begins as a.*download it again"):
        read_image(data[:12] + b"\0" * 200)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 100)
    with pytest.raises(InputError, match="32 x 16 pixels"):
        read_image(data)


def test_without_a_decoder_the_way_to_it_is_said_for_each_picture(tmp_path, form, monkeypatch):
    data = encode(form)
    monkeypatch.setattr(pictures, "list_formats", lambda: pictures.FORMATS)
    root = image_folder(tmp_path / "pets", pets(each=4))
    (root / "cat" / "phone.heic").write_bytes(data)
    (problem,) = problems(root)
    assert problem.where == "cat/phone.heic"
    assert "TIFF or GIF (HEIC too with tracin-relabel[heic]) image" in problem.message
    wanted = {"HEIF": "pip install 'tracin-relabel[heic]'", "AVIF": "pip install -U pillow"}
    assert wanted[form] in problem.message
    assert preview(root).counts == {"train": 6, "test": 2}


def test_every_format_that_can_be_read_is_named():
    with pytest.raises(InputError) as refused:
        inspect_image(b"no picture at all")
    words = {"WEBP": "WebP", "HEIF": "HEIC"}
    assert all(words.get(form, form) in str(refused.value) for form in list_formats())
