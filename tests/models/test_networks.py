from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tracin_core.models import SmallCNNConfig, WordEmbeddingConfig, build_model

CNN = SmallCNNConfig(height=8, width=8, channels=1, num_outputs=3, filters=(4, 6), hidden=5)
WORDS = WordEmbeddingConfig(num_ids=20, num_outputs=3, embedding=4, hidden=5)
CONFIGS = pytest.mark.parametrize("config", [CNN, WORDS], ids=lambda config: config.name)


def random_inputs(config, batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch)
    if config is CNN:
        return torch.randn(batch, 1, 8, 8, generator=generator)
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
    model, inputs = build_model(config).double(), random_inputs(config, 5)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    together = model(inputs)
    alone = torch.cat([model(inputs[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone)


@given(height=st.integers(4, 20), width=st.integers(4, 20), channels=st.integers(1, 3))
@settings(max_examples=20)
def test_the_cnn_takes_every_size_it_allows(height, width, channels):
    config = SmallCNNConfig(height=height, width=width, channels=channels, num_outputs=2)
    assert build_model(config)(torch.zeros(1, channels, height, width)).shape == (1, 2)


def test_padding_changes_no_logit():
    model = build_model(WORDS)
    short, padded = torch.tensor([[3, 4, 5]]), torch.tensor([[3, 4, 5, 0, 0, 0, 0]])
    torch.testing.assert_close(model(short), model(padded))
