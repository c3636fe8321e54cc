"""What a worker opens anew of a network is what the driver has."""

from __future__ import annotations

from dataclasses import replace

import torch

from relabel.runs.config import TargetScale
from relabel.scoring.portable import open_portable, pack_portable
from tests.relabel.scoring.small_runs import make_network


def test_a_network_of_numbers_is_made_again_with_its_scale(tmp_path) -> None:
    scale = TargetScale(mean=120.0, std=8.0)
    network = replace(make_network(tmp_path / "training"), target_scale=scale)
    recipe, state = pack_portable({"model": network.model, "encoder": network.encoder}, network)
    opened = open_portable(recipe, state)
    assert recipe["scale"] == {"mean": 120.0, "std": 8.0}
    assert opened["encoder"] == network.encoder
    weights, expected = opened["model"].state_dict(), network.model.state_dict()
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in expected.items()
    }
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
