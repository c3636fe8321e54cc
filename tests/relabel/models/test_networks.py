from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relabel.models.build import build_model, hash_weights, load_initial_weights
from relabel.models.networks.image import ResNet18Config, SmallCNNConfig
from relabel.models.networks.table import MLPConfig
from relabel.models.networks.text import SmallTransformerConfig, WordEmbeddingConfig
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import ConfigurationError

CNN = SmallCNNConfig(height=8, width=8, channels=1, num_outputs=3, filters=(4, 6), hidden=5)
WORDS = WordEmbeddingConfig(num_ids=20, num_outputs=3, embedding=4, hidden=5)
TRANSFORMER = SmallTransformerConfig(
    num_ids=20, num_outputs=3, max_tokens=6, width=8, heads=2, hidden=12
)
TABLE = MLPConfig(num_inputs=5, num_outputs=3, hidden=(8, 4))
RESNET = ResNet18Config(height=16, width=16, channels=1, num_outputs=3)
MOVED = dataclasses.replace(CNN, channels=3, shift=0.125)
ALL = [CNN, RESNET, WORDS, TRANSFORMER, TABLE]
CONFIGS = pytest.mark.parametrize("config", ALL, ids=lambda config: config.name)


def random_inputs(config, batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch)
    if config in (CNN, MOVED, RESNET):
        return torch.randn(batch, config.channels, config.height, config.width, generator=generator)
    if config is TABLE:
        return torch.randn(batch, 5, generator=generator)
    return torch.randint(0, 20, (batch, 6), generator=generator)


@CONFIGS
def test_logits_have_one_column_per_class(config):
    assert build_model(config)(random_inputs(config, 2)).shape == (2, 3)


@CONFIGS
def test_the_same_configuration_gives_the_same_weights_whatever_came_before(config):
    torch.manual_seed(1)
    first = build_model(config).state_dict()
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1)), "building moved the global random state"
    second = build_model(config).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@CONFIGS
def test_an_example_does_not_depend_on_its_batch(config):
    model, inputs = build_model(config).double().eval(), random_inputs(config, 5)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    together = model(inputs)
    alone = torch.cat([model(inputs[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone)


@given(height=st.integers(4, 20), width=st.integers(4, 20), channels=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_the_cnn_takes_every_size_it_allows(height, width, channels):
    config = SmallCNNConfig(height=height, width=width, channels=channels, num_outputs=2)
    assert build_model(config)(torch.zeros(1, channels, height, width)).shape == (1, 2)


def test_padding_changes_no_logit():
    short, padded = torch.tensor([[3, 4, 5]]), torch.tensor([[3, 4, 5, 0, 0, 0]])
    for config in (WORDS, TRANSFORMER):
        model = build_model(config).eval()
        torch.testing.assert_close(model(short), model(padded))


# resnet18 is in tests/models_covered.
@pytest.mark.parametrize("config", [CNN, MOVED, WORDS, TRANSFORMER, TABLE], ids=lambda c: c.name)
def test_every_parameter_is_covered_exactly(config):
    model = build_model(config)
    tracin = TracIn(model, [Checkpoint(model.state_dict(), 1.0)], device="cpu")
    inputs = random_inputs(config, 4)
    capture = tracin.capture([(value, torch.tensor(i % 3)) for i, value in enumerate(inputs)])
    assert set(tracin.coverage.covered) == {name for name, _ in model.named_parameters()}
    model.eval()
    loss = torch.nn.functional.cross_entropy(model(inputs[1:2]), torch.tensor([1]))
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    expected = sum(float(gradient.square().sum()) for gradient in gradients)
    assert float(capture.squared_norms_all[0, 1]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("side", [32, 96])
def test_resnet18_keeps_the_size_of_small_images(side):
    config = ResNet18Config(height=side, width=side, channels=3, num_outputs=1)
    assert config.has_small_stem is (side == 32)
    model = build_model(config).eval()
    assert model(torch.zeros(1, 3, side, side)).shape == (1, 1)
    features = model.layer1(model.maxpool(model.conv1(torch.zeros(1, 3, side, side))))
    assert features.shape[-1] == (side if side == 32 else side // 4)


def test_images_are_moved_and_mirrored_in_training_alone():
    config = dataclasses.replace(CNN, shift=0.25)  # two pixels of 8
    model, images = build_model(config), random_inputs(CNN, 40)
    assert list(model.state_dict()) == list(build_model(CNN).state_dict())
    assert torch.equal(model.eval().moves(images), images)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        moved = model.train().moves(images)
    found = set()
    for number, image in enumerate(moved):
        cuts = {
            (row, column, is_mirrored): cut.flip(2) if is_mirrored else cut
            for row in range(5)
            for column in range(5)
            for is_mirrored in (False, True)
            for cut in [padded[number, :, row : row + 8, column : column + 8]]
        }
        (place,) = (place for place, cut in cuts.items() if torch.equal(cut, image))
        found.add(place)
    assert {place[0] for place in found} == {place[1] for place in found} == set(range(5))
    assert {place[2] for place in found} == {False, True}


def test_the_smallest_and_the_longest_images_can_be_moved():
    for height, width in ((4, 4), (4, 64)):
        config = dataclasses.replace(CNN, height=height, width=width, shift=0.9)
        images = torch.randn(3, 1, height, width)
        assert build_model(config).train()(images).shape == (3, 3)


@pytest.mark.parametrize("shift", [-0.1, 1.0])
def test_a_shift_that_cannot_be_is_refused(shift):
    with pytest.raises(ConfigurationError, match="shift"):
        dataclasses.replace(CNN, shift=shift)


def test_word_dropout_hides_words_in_training_alone():
    config = dataclasses.replace(WORDS, word_dropout=0.5)
    model, ids = build_model(config), random_inputs(WORDS, 4)
    assert list(model.state_dict()) == list(build_model(WORDS).state_dict())
    plain = build_model(WORDS).eval()
    torch.testing.assert_close(model.eval()(ids), plain(ids))
    many = torch.full((100, 100), 7)
    hidden = (model.train().word_dropout(many) == 0).float().mean()
    assert hidden.item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_of_words_that_cannot_be_is_refused(share):
    with pytest.raises(ConfigurationError, match="word_dropout"):
        dataclasses.replace(WORDS, word_dropout=share)


@pytest.mark.parametrize("content", ["an object", "cut", "a list"])
def test_initial_weights_are_read_as_tensors_and_nothing_else(tmp_path, content):
    path = tmp_path / "resnet18.pt"
    torch.save({"an object": Path, "a list": [1.0]}.get(content, {"a": torch.ones(9)}), path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    config = ResNet18Config(
        height=8,
        width=8,
        channels=3,
        num_outputs=2,
        weights=str(path),
        weights_sha256=hash_weights(path),
    )
    with pytest.raises(ConfigurationError, match=r"resnet18\.pt cannot be read safely"):
        load_initial_weights(torch.nn.Linear(1, 1), config)
