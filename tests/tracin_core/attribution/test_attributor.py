"""TracInCP as an attribution method gives what TracIn gives, from one pass where it can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tracin_core
from tests.new_modules import added_module
from tracin_core import Checkpoint, Projection, TracIn, attribution
from tracin_core.attribution import (
    DEFAULT_METHOD,
    AttributionSetup,
    CaptureAttributor,
    FittedAttributor,
    VectorAttributor,
    get_method,
    list_methods,
)


def make_tracin(**options) -> TracIn:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    checkpoints = [
        Checkpoint({name: value * scale for name, value in model.state_dict().items()}, rate)
        for scale, rate in ((1.0, 0.5), (1.5, 0.25))
    ]
    return TracIn(model, checkpoints, device="cpu", **options)


def make_examples(count: int, seed: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 5, generator=draw, dtype=torch.float64)
    return TensorDataset(inputs, torch.randint(3, (count,), generator=draw))


TRAIN, TEST = make_examples(9, 1), make_examples(4, 2)


def test_its_scores_are_the_self_influences():
    tracin = make_tracin()
    method = get_method(DEFAULT_METHOD).make(AttributionSetup(tracin=tracin))
    scores = method.scores(TRAIN)
    assert list(scores) == ["self_influence_all", "self_influence_last"]
    torch.testing.assert_close(scores["self_influence_all"], tracin.self_influence(TRAIN))
    expected = make_tracin(layers="last").self_influence(TRAIN)
    torch.testing.assert_close(scores["self_influence_last"], expected)


def test_influence_and_vectors_are_those_of_the_engine():
    tracin = make_tracin()
    method = get_method(DEFAULT_METHOD).make(AttributionSetup(tracin=tracin))
    assert torch.equal(method.influence(TRAIN, TEST), tracin.influence(TRAIN, TEST))
    assert isinstance(method, VectorAttributor)
    for projection in (None, Projection(dim=16)):
        expected = tracin.vectors(TEST, projection)
        assert torch.equal(method.vectors(TEST, projection), expected)


@pytest.mark.parametrize("layers", ["all", "last"])
def test_what_a_capture_holds_weighted_with_the_rates_is_the_score(layers):
    tracin = make_tracin(layers=layers)
    method = get_method(DEFAULT_METHOD).make(AttributionSetup(tracin=tracin))
    assert isinstance(method, CaptureAttributor)
    parts, scores = method.read_capture(tracin.capture(TRAIN)), method.scores(TRAIN)
    assert list(parts) == list(scores)
    assert ("self_influence_all" in parts) == (layers == "all")
    rates = torch.tensor([0.5, 0.25], dtype=torch.float64)
    for name, norms in parts.items():
        torch.testing.assert_close(rates @ norms, scores[name])


def test_its_configuration_tells_rates_and_projection():
    projection = {"all": Projection(dim=8, seed=3), "last": None}
    setup = AttributionSetup(tracin=make_tracin(), rates="ones", projection=projection)
    method = get_method(DEFAULT_METHOD).make(setup)
    assert method.configuration["rates"] == "ones"
    assert method.configuration["projection"]["last"] is None
    assert method.configuration["projection"]["all"]["seed"] == 3
    assert "learning rates" in method.needs
    assert not isinstance(method, FittedAttributor)


def test_every_method_names_its_scores():
    for name, method in list_methods().items():
        assert method.name == name
        assert method.title
        assert method.scores
        assert all(score.isidentifier() for score in method.scores)


METHOD = '''
"""The loss at the last checkpoint, as a method."""

from tracin_core.attribution import register_attributor


@register_attributor("last_loss", "Last loss", scores={"last_loss": "last loss"})
class LastLoss:
    needs = frozenset({"checkpoints", "loss", "labels"})

    def __init__(self, setup):
        self.tracin, self.configuration = setup.tracin, {}

    def scores(self, train):
        return {"last_loss": self.tracin.capture(train).losses[-1]}

    def influence(self, train, test):
        return self.tracin.influence(train, test)
'''


def test_a_method_is_one_new_file_in_its_folder(tmp_path: Path):
    new = tmp_path / "last_loss.py"
    new.write_text(METHOD)
    before = list(list_methods())
    assert before[0] == DEFAULT_METHOD
    with added_module(attribution, attribution.load_methods, attribution._METHODS, new):
        assert list(list_methods()) == [*before, "last_loss"]
        tracin = make_tracin()
        method = get_method("last_loss").make(AttributionSetup(tracin=tracin))
        losses = method.scores(TRAIN)["last_loss"]
        assert torch.equal(losses, tracin.capture(TRAIN).losses[-1])
        assert not isinstance(method, CaptureAttributor | VectorAttributor | FittedAttributor)
    assert list(list_methods()) == before


LIST = """
import sys
from tracin_core import Attributor, AttributionSetup, attribution, list_methods
attribution.__path__.append(sys.argv[1])
from tracin_core import register_attributor
attribution.load_methods([sys.argv[1]])
print(*list_methods(), "torch" in sys.modules)
"""


def test_the_methods_are_listed_without_torch(tmp_path: Path):
    (tmp_path / "last_loss.py").write_text(METHOD)
    command = [sys.executable, "-c", LIST, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [*list_methods(), "last_loss", "False"]


def test_the_names_of_a_method_are_offered_at_the_top():
    for name in ("AttributionSetup", "Attributor", "VectorAttributor", "register_attributor"):
        assert getattr(tracin_core, name) is getattr(attribution, name)
        assert name in tracin_core.__all__
