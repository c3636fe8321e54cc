"""Features as an encoder stores and hands them on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from relabel.features.encoding import encoder_from_json, name_cache, open_cache, write_cache
from relabel.features.frozen import FeatureEncoder, begin_features
from tests.relabel.features.backbones.pictures import make_files
from tracin_core.errors import ConfigurationError, InputError

SMALL = "efficientnet_lite0:32"


@pytest.fixture(scope="module")
def encoder() -> FeatureEncoder:
    begun = begin_features("image", SMALL)
    return begun.measured(begun.read_many(make_files()))


def test_rows_are_standardised_by_the_train_split_and_have_length_one(encoder):
    rows = encoder.read_many(make_files())
    assert rows.dtype == np.float16
    assert rows.shape == (4, *encoder.stored_shape) == (4, 1280)
    exact = rows.astype(np.float64)
    expected = (exact - exact.mean(axis=0)) / (exact.std(axis=0) + 1e-6)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    inputs = encoder.to_inputs(torch.from_numpy(rows))
    assert inputs.dtype == torch.float32
    np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-5)
    one = encoder.encode(make_files()[2])
    np.testing.assert_allclose(one.numpy(), expected[2], atol=2e-2)  # half precision, alone


def test_features_at_their_mean_make_a_row_of_zeros():
    encoder = FeatureEncoder(
        of="text", backbone="b", weights_sha256="0", size=0, mean=(1.0, 2.0), std=(1.0, 1.0)
    )
    inputs = encoder.to_inputs(torch.tensor([[1.0, 2.0], [4.0, 6.0]], dtype=torch.float16))
    torch.testing.assert_close(inputs, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))


def test_an_encoder_survives_json_and_names_its_rows_alike(encoder):
    again = encoder_from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    begun = begin_features("image", SMALL)
    assert name_cache(begun, "x") == name_cache(encoder, "x")
    moved = replace(encoder, weights="/elsewhere/lite0.pth")
    assert name_cache(moved, "x") == name_cache(encoder, "x")
    others = [replace(encoder, weights_sha256="1"), replace(encoder, backbone="b")]
    assert len({name_cache(each, "x") for each in (encoder, *others)}) == 3


@pytest.mark.parametrize("changes", [{"std": (1.0,)}, {"mean": (), "std": ()}, {"std": (0.0, 1.0)}])
def test_impossible_numbers_are_refused(changes):
    numbers = {"mean": (0.0, 0.0), "std": (1.0, 1.0)} | changes
    with pytest.raises(ConfigurationError, match="expected as many of both"):
        FeatureEncoder(of="image", backbone="b", weights_sha256="0", size=4, **numbers)


def test_weights_that_have_changed_or_gone_are_named(tmp_path: Path):
    path = tmp_path / "words.txt"
    path.write_text("red 1 0\nblue 0 1\n", encoding="utf-8")
    encoder = begin_features("text", f"static:{path}")
    assert encoder.read("red").tolist() == [1, 0]
    changed = replace(encoder, weights_sha256="0" * 64)
    with pytest.raises(ConfigurationError, match=r"words\.txt have changed: .* expected 00000000"):
        changed.read("red")
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"Found no file .*words\.txt.*put the file back"):
        changed.read("red")
    with pytest.raises(InputError, match="The text is empty"):
        encoder.read(" ")


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path):
    (tmp_path / "words.txt").write_text("red nan 0\nblue 1e30 -1e30\n", encoding="utf-8")
    encoder = begin_features("text", f"static:{tmp_path / 'words.txt'}")
    with pytest.raises(InputError, match="not finite"):
        encoder.read("red")
    assert np.isfinite(encoder.read("blue")).all()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 64
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip(folder / "inputs.npy"),
        lambda folder: (folder / "inputs.npy").write_bytes(b"cut"),
        lambda folder: np.save(folder / "inputs.npy", np.zeros((100, 3), np.float16)),
        lambda folder: np.save(folder / "inputs.npy", np.zeros((100, 2), np.float16)),
    ],
    ids=["a bit", "cut", "wider", "of other features"],
)
def test_stored_features_that_a_disk_has_changed_are_made_again(tmp_path: Path, damage):
    (tmp_path / "words.txt").write_text("red 1 0\nblue 0 1\n", encoding="utf-8")
    encoder = begin_features("text", f"static:{tmp_path / 'words.txt'}")
    texts, folder = ["red", "blue"] * 50, tmp_path / "cache"

    def write() -> bytes:
        write_cache(folder, encoder, lambda start: iter(texts[start:]), len(texts))
        return (folder / "inputs.npy").read_bytes()

    whole = write()
    assert open_cache(folder, encoder, len(texts)).tolist() == [[1, 0], [0, 1]] * 50
    damage(folder)
    assert open_cache(folder, encoder, len(texts)) is None
    assert write() == whole
    (folder / "journal.jsonl").unlink()  # as an earlier version left it
    assert open_cache(folder, encoder, len(texts)) is not None
