from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracin_core.errors import ConfigurationError
from tracin_core.examples import ImageEncoder, TextEncoder
from tracin_core.models import (
    SmallCNNConfig,
    WordEmbeddingConfig,
    model_config_from_json,
    suggest_model,
)

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


@given(CNN | WORDS)
def test_a_configuration_survives_json(config):
    assert model_config_from_json(json.loads(json.dumps(config.to_json()))) == config


def test_the_suggested_network_fits_the_encoder():
    image = suggest_model(ImageEncoder(height=8, width=12, channels=3), 5)
    assert image == SmallCNNConfig(height=8, width=12, channels=3, num_outputs=5)
    text = suggest_model(TextEncoder(vocabulary=("a", "b")), 4, seed=7)
    assert text == WordEmbeddingConfig(num_ids=4, num_outputs=4, seed=7)


@pytest.mark.parametrize(
    "changes", [{"height": 3}, {"num_outputs": 0}, {"filters": (4,)}, {"hidden": 0}]
)
def test_an_impossible_network_is_refused(changes):
    with pytest.raises(ConfigurationError, match=r"Found .* expected"):
        SmallCNNConfig(**{"height": 8, "width": 8, "channels": 1, "num_outputs": 2, **changes})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "resnet900"}, "expected one of small_cnn, resnet18, word_embedding"),
        ({"name": "word_embedding", "num_ids": 3, "num_outputs": 2, "heads": 4}, "heads"),
        ({"name": "small_cnn", "height": 8}, "cannot be read"),
    ],
)
def test_a_configuration_of_another_version_is_refused(data, message):
    with pytest.raises(ConfigurationError, match=message):
        model_config_from_json(data)
