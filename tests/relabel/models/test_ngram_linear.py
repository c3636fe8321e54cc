"""The linear network over terms: trained and scored from a project, and exact beside the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from relabel.fitting.options import WorkOptions
from relabel.models.build import build_model
from relabel.models.networks.text import NgramLinearConfig
from relabel.runs.folder import RunFolder
from relabel.scoring.project import score_project, train_project
from relabel.triage.new_example import score_new_example
from tests import oracles
from tests.relabel.scoring.small_projects import make_texts, open_workspace
from tracin_core import Checkpoint, Projection, TracIn

# Of one length and not; with a term twice, as no encoder of ours has it; and without any.
BAGS = [
    ([0, 3, 3, 7], [0.5, 0.25, 0.5, 0.1]),
    ([2, 3], [0.6, 0.8]),
    ([], []),
    ([7], [1.0]),
    ([0, 1, 2, 3, 4, 5], [0.4] * 6),
]


def make_examples() -> list[tuple[tuple[torch.Tensor, torch.Tensor], int]]:
    examples = []
    for number, (ids, weights) in enumerate(BAGS):
        missing = 6 - len(ids)
        bag = torch.tensor(ids + [0] * missing)
        examples.append(((bag, torch.tensor(weights + [0.0] * missing)), number % 3))
    return examples


@pytest.fixture(scope="module")
def checkpoints() -> tuple[torch.nn.Module, list[Checkpoint]]:
    model = build_model(NgramLinearConfig(num_terms=9, num_outputs=3))
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(10, 3, generator=generator) for _ in range(2)]
    return model, [
        Checkpoint({"terms.weight": value}, rate, step)
        for step, (value, rate) in enumerate(zip(weights, (5.0, 1.0), strict=True), start=1)
    ]


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def test_scores_over_all_layers_are_those_of_whole_gradients(checkpoints):
    model, steps = checkpoints
    examples = make_examples()
    double = [((ids, weights.double()), target) for (ids, weights), target in examples]
    wide = [
        Checkpoint({"terms.weight": s.weights["terms.weight"].double()}, s.learning_rate, s.step)
        for s in steps
    ]
    expected = oracles.influence(model.double(), wide, double, double, loss)
    model.float()
    tracin = TracIn(model, steps, "cross_entropy", batch_size=3)
    found = tracin.self_influence(examples)
    torch.testing.assert_close(found.double(), expected.diagonal(), **oracles.SINGLE)
    pairs = tracin.influence(examples, examples)
    torch.testing.assert_close(pairs.double(), expected, rtol=1e-4, atol=1e-5)
    assert "rule" in str(tracin.coverage)


def test_self_influence_is_that_of_the_factors(checkpoints):
    model, steps = checkpoints
    tracin = TracIn(model, steps[:1], "cross_entropy", rates="ones")
    examples = make_examples()[1:]  # those without a term twice
    found = tracin.self_influence(examples)
    for score, ((ids, weights), target) in zip(found, examples, strict=True):
        held = {"terms.weight": steps[0].weights["terms.weight"]}
        outputs = torch.func.functional_call(model, held, (ids[None], weights[None]))
        delta = outputs.softmax(1)[0] - functional.one_hot(torch.tensor(target), 3)
        wanted = delta.square().sum() * (weights.square().sum() + 1)
        torch.testing.assert_close(score.float(), wanted, **oracles.SINGLE)


def test_projected_vectors_estimate_the_influence(checkpoints):
    model, steps = checkpoints
    tracin = TracIn(model, steps, "cross_entropy", rates="ones")
    examples = make_examples()
    exact = tracin.influence(examples, examples)
    sizes = exact.diagonal().sqrt()
    errors = []
    for seed in range(5):  # in some seed two of so few numbers meet in one place
        vectors = tracin.capture(examples, projection=Projection(dim=4096, seed=seed)).vectors
        errors.append((vectors @ vectors.T - exact).abs() / sizes[:, None] / sizes)
    assert torch.stack(errors).median(0).values.max() < 0.05


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    engine, workspace = open_workspace(tmp_path_factory.mktemp("work"))
    project = make_texts(engine, wrong=(3, 10, 21))
    options = WorkOptions(model="ngram_linear", epochs=4)
    train_project(engine, workspace, project.slug, options)
    run = score_project(engine, workspace, project.slug, options)
    return workspace.project_folder(project.slug) / run.folder


def test_wrong_labels_come_first(scored):
    folder = RunFolder(scored)
    scores = folder.read_all_signals("train").scores["self_influence_last"]
    order = np.argsort(-scores.mean(0))
    assert set(order[:3].tolist()) == {3, 10, 21}
    config = folder.read_config()
    assert config.model["name"] == "ngram_linear"
    assert config.encoder["kind"] == "ngrams"


def test_a_new_text_is_scored_with_the_stored_table(scored):
    found = score_new_example(scored, text="A warm, bright and yellow morning")
    assert found.predicted == 0
    assert found.probabilities[0] > 0.6
    nothing = score_new_example(scored, text="qwertz")
    assert nothing.probabilities.sum() == pytest.approx(1)
