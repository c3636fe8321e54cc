"""Backbones for texts: means of vectors, whatever file they come from."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from relabel.features.backbones.registry import find_backbone, load_backbone
from tests.relabel.features.backbones.pieces import write_package, write_pieces
from tracin_core.errors import ConfigurationError, InputError

WORDS = "red 1 0\nblue 0 1\nred 5 5\n"


def open_static(path: Path):
    return load_backbone(find_backbone("text", f"static:{path}"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("words.txt", WORDS.encode()),
        ("words.vec", b"3 2\n" + WORDS.encode()),
        ("words.txt.gz", gzip.compress(WORDS.encode(), mtime=0)),
    ],
    ids=["txt", "vec", "gz"],
)
def test_the_features_of_a_text_are_the_mean_of_its_known_words(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    backbone = open_static(tmp_path / name)
    assert (backbone.dim, backbone.size) == (2, 0)
    features = backbone.compute(["Red, red and blue!", "unknown", "half \ud800 blue"])
    np.testing.assert_allclose(features, [[2 / 3, 1 / 3], [0, 0], [0, 1]], rtol=1e-6)
    assert features.dtype == np.float32
    with pytest.raises(InputError, match="The text is empty"):
        backbone.compute(["red", " "])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.txt", b"red 1 0\nblue 1\n", "line 2 has 1 numbers"),
        ("w.txt", b"red one two\n", "expected a word and its numbers on each line"),
        ("w.txt", b"", "Found no vectors"),
        ("w.txt.gz", b"no gzip", "cannot be read"),
        ("w.pickle", b"", r"expected static: and a file that ends with \.txt"),
        ("w.safetensors", b"", r"Found no file .*tokenizer\.json"),
    ],
)
def test_what_are_no_vectors_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        open_static(tmp_path / name)


TABLE = np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float16)


def test_pieces_are_looked_up_in_whole_texts_without_padding(tmp_path):
    write_pieces(tmp_path / "v.safetensors", tmp_path / "tokenizer.json", table=TABLE)
    backbone = open_static(tmp_path / "v.safetensors")
    np.testing.assert_allclose(backbone.compute(["red red blue blue", "red"]), [[0.5, 0.5], [1, 0]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("v.safetensors", r"v\.safetensors cannot be read"),
        ("tokenizer.json", r"tokenizer\.json cannot be read"),
        (None, "expected one table of vectors"),
    ],
)
def test_damaged_pieces_are_refused(tmp_path, damage, message):
    tables = {"first": TABLE, "second": TABLE}
    write_pieces(tmp_path / "v.safetensors", tmp_path / "tokenizer.json", **tables)
    if damage:
        (tmp_path / damage).write_bytes(b"{}")
    with pytest.raises(ConfigurationError, match=message):
        open_static(tmp_path / "v.safetensors")


def test_wordllama_is_read_from_its_package_and_not_run(tmp_path, monkeypatch):
    write_package(tmp_path, ("red", "blue"), TABLE)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = find_backbone("text")
    monkeypatch.undo()
    assert found.request.name == "wordllama"
    np.testing.assert_allclose(load_backbone(found).compute(["blue"]), [[0, 1]])


def test_texts_without_vectors_at_hand_say_how_to_get_some(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigurationError, match=r"pip install 'tracin-relabel\[texts\]'"):
        find_backbone("text")
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="which has its own"):
        find_backbone("text", "wordllama", weights="w.pt")
    with pytest.raises(ConfigurationError, match="Found 'wordllama:big', expected wordllama alone"):
        find_backbone("text", "wordllama:big")
