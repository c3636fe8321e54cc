from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.features.frozen import FeatureEncoder
from relabel.features.image import ImageEncoder
from relabel.features.ngrams import NgramEncoder
from relabel.features.table import NumberColumn, TableEncoder
from relabel.features.text import TextEncoder
from relabel.models.builtin import available, model_config_from_json, suggest_model
from relabel.models.networks.heads import LinearHeadConfig, MLPHeadConfig
from relabel.models.networks.image import ResNet18Config, SmallCNNConfig
from relabel.models.networks.table import MLPConfig
from relabel.models.networks.text import SmallTransformerConfig, WordEmbeddingConfig
from relabel.models.registry import find_network
from tracin_core.errors import ConfigurationError

SIZES = st.integers(4, 100)
CNN = st.builds(
    SmallCNNConfig,
    height=SIZES,
    width=SIZES,
    channels=st.integers(1, 4),
    num_outputs=st.integers(2, 50),
    filters=st.tuples(SIZES, SIZES),
    hidden=SIZES,
    seed=st.integers(0, 2**31),
)
WORDS = st.builds(
    WordEmbeddingConfig, num_ids=st.integers(2, 10**6), num_outputs=st.integers(2, 50), hidden=SIZES
)


OTHERS = st.sampled_from(
    [
        MLPConfig(num_inputs=3, num_outputs=1, hidden=(4, 5, 6)),
        LinearHeadConfig(num_inputs=3, num_outputs=1, seed=4),
        MLPHeadConfig(num_inputs=3, num_outputs=2, hidden=5),
        ResNet18Config(height=32, width=48, channels=3, num_outputs=7, weights="w.pt"),
        SmallTransformerConfig(num_ids=9, num_outputs=2, max_tokens=5),
    ]
)


NGRAMS = NgramEncoder(terms=("a", "b", "a b"), counts=(3, 2, 2), num_texts=3)
FEATURES = FeatureEncoder(
    of="image",
    backbone="b",
    weights_sha256="0",
    size=4,
    mean=(0.0, 0.5),
    std=(1.0, 2.0),
)

NGRAMS = NgramEncoder(terms=("a", "b"), counts=(2, 2), num_texts=3)


@given(CNN | WORDS | OTHERS)
def test_a_configuration_survives_json(config):
    assert model_config_from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_network_saved_before_there_was_regression_is_read():
    saved = SmallCNNConfig(height=8, width=8, channels=1, num_outputs=4).to_json()
    saved["num_classes"] = saved.pop("num_outputs")
    assert model_config_from_json(saved).num_outputs == 4


def test_every_kind_has_networks_and_the_first_is_suggested():
    table = TableEncoder(columns=(NumberColumn(name="a"),))
    encoders = {
        "image": ImageEncoder(height=32, width=32, channels=3),
        "text": TextEncoder(vocabulary=("a",)),
        "table": table,
    }
    for kind, encoder in encoders.items():
        names = available(kind)
        assert suggest_model(encoder, 1).name == names[0]
        for name in names:
            takes = find_network(name).takes
            made = {"inputs": encoder, "features": replace(FEATURES, of=kind), "ngrams": NGRAMS}[
                takes
            ]
            assert suggest_model(made, 7, model=name).num_outputs == 7
    assert suggest_model(table, 1) == MLPConfig(num_inputs=1, num_outputs=1)


def test_many_classes_get_a_wider_hidden_layer():
    encoder = TextEncoder(vocabulary=("a",))
    assert suggest_model(encoder, 2000).hidden > suggest_model(encoder, 20).hidden


@pytest.mark.parametrize("options", [{"model": "mlp"}, {"model": "small_cnn", "weights": "w.pt"}])
def test_a_network_that_does_not_fit_is_refused_with_those_that_do(options):
    with pytest.raises(ConfigurationError, match="expected one of small_cnn, resnet18"):
        suggest_model(ImageEncoder(height=32, width=32), 3, **options)


def test_the_suggested_network_fits_the_encoder():
    image = suggest_model(ImageEncoder(height=8, width=12, channels=3), 5)
    assert image == SmallCNNConfig(
        height=8, width=12, channels=3, num_outputs=5, filters=(32, 64), shift=0.125
    )
    grey = suggest_model(ImageEncoder(height=8, width=12, channels=1), 5)
    assert grey == SmallCNNConfig(height=8, width=12, channels=1, num_outputs=5)
    assert "shift" not in grey.to_json()  # as runs from before there was one have it
    assert (image.training.epochs, grey.training.epochs) == (16, 12)
    text = suggest_model(TextEncoder(vocabulary=("a", "b")), 4, seed=7)
    assert text == WordEmbeddingConfig(num_ids=4, num_outputs=4, word_dropout=0.5, seed=7)


@pytest.mark.parametrize(
    "changes", [{"height": 3}, {"num_outputs": 0}, {"filters": (4,)}, {"hidden": 0}]
)
def test_an_impossible_network_is_refused(changes):
    with pytest.raises(ConfigurationError, match=r"Found .* expected"):
        SmallCNNConfig(**{"height": 8, "width": 8, "channels": 1, "num_outputs": 2, **changes})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "resnet900"}, "expected one of small_cnn, resnet18, .*word_embedding"),
        ({"name": "word_embedding", "num_ids": 3, "num_outputs": 2, "heads": 4}, "heads"),
        ({"name": "small_cnn", "height": 8}, "cannot be read"),
    ],
)
def test_a_configuration_of_another_version_is_refused(data, message):
    with pytest.raises(ConfigurationError, match=message):
        model_config_from_json(data)
