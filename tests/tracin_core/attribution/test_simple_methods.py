"""Simple methods beside TracIn agree with their definitions, one example at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from tests import oracles
from tests.oracles import EXACT
from tests.tracin_core.curvature import small
from tracin_core import (
    AttributionSetup,
    Checkpoint,
    Projection,
    TracIn,
    get_method,
    list_methods,
)
from tracin_core.attribution import feature_neighbours
from tracin_core.errors import ConfigurationError

TRAIN, TEST = small.make_examples(9, 1), small.make_examples(4, 2)
RATES = (0.5, 0.25)
EQUAL = {"rtol": 0, "atol": 0}


def make_tracin(rates="recorded") -> TracIn:
    model = small.make_model()
    checkpoints = [
        Checkpoint({name: value * scale for name, value in model.state_dict().items()}, rate)
        for scale, rate in zip((1.0, 1.5), RATES, strict=True)
    ]
    return TracIn(model, checkpoints, device="cpu", batch_size=4, rates=rates)


def make(name, rates="recorded", **options):
    setup = AttributionSetup(tracin=make_tracin(rates), rates=rates, options=options)
    return get_method(name).make(setup)


def gradients_at(index, examples, names=("2.weight", "2.bias")):
    tracin = make_tracin()
    tracin.model.load_state_dict(tracin.checkpoints[index].weights)
    return oracles.per_example_gradients(tracin.model, examples, _entropy, names)


def _entropy(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="none")


def embed(examples):
    tracin = make_tracin()
    tracin.model.load_state_dict(tracin.checkpoints[1].weights)
    return tracin.model[:2](examples.tensors[0]).detach()


def test_the_last_checkpoint_alone_counts():
    left, right = gradients_at(1, TRAIN), gradients_at(1, TEST)
    method = make("last_checkpoint")
    torch.testing.assert_close(method.influence(TRAIN, TEST), left @ right.T, **EXACT)
    scores = method.scores(TRAIN)["self_influence_final"]
    torch.testing.assert_close(scores, left.square().sum(1), **EXACT)
    torch.testing.assert_close(method.vectors(TRAIN), left, **EXACT)
    everything = [name for name, _ in small.make_model().named_parameters()]
    whole = gradients_at(1, TRAIN, everything)
    actual = make("last_checkpoint", layers="all").vectors(TRAIN)
    torch.testing.assert_close(actual, whole, **EXACT)


@pytest.mark.parametrize("rates", ["recorded", "ones"])
def test_gradient_cosines_are_weighted_means_over_checkpoints(rates):
    weights = RATES if rates == "recorded" else (1.0, 1.0)
    expected = torch.zeros(9, 4, dtype=torch.float64)
    for index, rate in enumerate(weights):
        left, right = gradients_at(index, TRAIN), gradients_at(index, TEST)
        for n in range(9):
            for m in range(4):
                expected[n, m] += rate * F.cosine_similarity(left[n], right[m], dim=0)
    method = make("gradient_cosine", rates)
    torch.testing.assert_close(method.influence(TRAIN, TEST), expected / sum(weights), **EXACT)
    itself = method.influence(TRAIN, TRAIN)
    torch.testing.assert_close(itself.diagonal(), torch.ones(9, dtype=torch.float64), **EXACT)
    scores = method.scores(TRAIN)["gradient_against_mean"]
    mean = itself.mean(1) / itself.mean().sqrt()  # with a mean direction of length one
    torch.testing.assert_close(scores, -mean, **EXACT)
    assert method.vectors(TRAIN, Projection(dim=16)).shape == (9, 32)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "distance"])
def test_embedding_similarity_is_that_of_the_last_layers_inputs(similarity):
    left, right = embed(TRAIN), embed(TEST)
    expected = {
        "cosine": F.cosine_similarity(left[:, None], right[None], dim=2),
        "dot": left @ right.T,
        "distance": -(left[:, None] - right[None]).norm(dim=2),
    }[similarity]
    method = make("embedding_similarity", similarity=similarity)
    torch.testing.assert_close(method.influence(TRAIN, TEST), expected, **EXACT)
    if similarity == "distance":
        with pytest.raises(ConfigurationError, match="no dot products"):
            method.vectors(TRAIN)
    else:
        torch.testing.assert_close(
            method.vectors(TRAIN) @ method.vectors(TEST).T, expected, **EXACT
        )
    cosines = F.cosine_similarity(left[:, None], left[None], dim=2)
    scores = method.scores(TRAIN)["embedding_oddness"]
    torch.testing.assert_close(scores, -cosines.mean(1), **EXACT)


def test_neighbours_vote_without_the_example_itself():
    rows, labels = embed(TRAIN), TRAIN.tensors[1]
    cosines = F.cosine_similarity(rows[:, None], rows[None], dim=2)
    expected = []
    for n in range(9):
        order = sorted((m for m in range(9) if m != n), key=lambda m, n=n: -float(cosines[n, m]))
        expected.append(sum(int(labels[m]) != int(labels[n]) for m in order[:3]) / 3)
    method = make("feature_neighbours", count=3)
    scores = method.scores(TRAIN)["neighbour_disagreement"]
    torch.testing.assert_close(scores, torch.tensor(expected, dtype=torch.float64), **EXACT)
    votes = method.influence(TRAIN, TEST)
    assert votes.shape == (9, 4)
    torch.testing.assert_close(votes.abs().sum(0), torch.ones(4))
    same = labels[:, None] == TEST.tensors[1][None]
    assert bool(((votes >= 0) | ~same).all())
    assert bool(((votes <= 0) | same).all())


def test_copies_of_an_example_are_neighbours_of_each_other():
    inputs = torch.ones(4, 3, dtype=torch.float64)
    train = TensorDataset(inputs, torch.tensor([0, 0, 0, 1]))
    scores = make("feature_neighbours", count=3).scores(train)["neighbour_disagreement"]
    third = 1 / 3
    assert scores.tolist() == pytest.approx([third, third, third, 1])


def test_of_numbers_the_neighbours_mean_counts():
    train = small.make_examples(9, 1, "mse")
    setup = AttributionSetup(tracin=small.make_tracin(loss="mse"), options={"count": 8})
    method = get_method("feature_neighbours").make(setup)
    targets = train.tensors[1]
    others = (targets.sum(0) - targets) / 8
    scores = method.scores(train)["neighbour_disagreement"]
    torch.testing.assert_close(scores, (others - targets).norm(dim=1), **EXACT)
    with pytest.raises(ConfigurationError, match="expected classes"):
        method.influence(train, train)


def disagree_one_at_a_time(rows, targets, count):
    """The slow way: each example's nearest by cosine, itself struck out, then the vote."""
    found = []
    for at in range(len(rows)):
        nearest = (rows[at : at + 1] @ rows.T).topk(count + 1, dim=1).indices[0].tolist()
        itself = [
            place
            for place, other in enumerate(nearest)
            if torch.equal(rows[other], rows[at]) and torch.equal(targets[other], targets[at])
        ]
        nearest.pop(itself[0] if itself else -1)
        others = targets[nearest]
        if targets.is_floating_point():
            found.append((others.mean(0) - targets[at]).norm())
        else:
            found.append((others != targets[at]).double().mean())
    return torch.stack(found).double()


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("compared", [1, 500, 1 << 25], ids=["one", "some", "all"])
def test_blocks_of_neighbours_vote_as_one_example_at_a_time(monkeypatch, compared, loss):
    monkeypatch.setattr(feature_neighbours, "COMPARED", compared)
    train = small.make_examples(60, 3, loss)
    # Copies, with the same target and with another, are the cases that a vote can get wrong.
    for tensor in train.tensors:
        tensor[40:50] = tensor[30:40]
    train.tensors[0][50:] = train.tensors[0][20:30]
    setup = AttributionSetup(tracin=small.make_tracin(loss=loss), options={"count": 5})
    method = get_method("feature_neighbours").make(setup)
    rows, targets = method._embed(train)
    expected = disagree_one_at_a_time(rows, targets, 5)
    actual = method.scores(train)["neighbour_disagreement"]
    torch.testing.assert_close(actual, expected, **(EXACT if loss == "mse" else EQUAL))


FITTED = ["gradient_cosine", "embedding_similarity", "feature_neighbours", "influence_functions"]


@pytest.mark.parametrize("name", [*FITTED, "representer", "last_checkpoint"])
def test_scores_do_not_depend_on_which_examples_are_scored_together(name):
    method = make(name)
    if hasattr(method, "fit"):
        method.fit(TRAIN)
    (score,) = list_methods()[name].scores
    whole = method.scores(TRAIN)[score]
    part = TensorDataset(*(tensor[3:7] for tensor in TRAIN.tensors))
    torch.testing.assert_close(method.scores(part)[score], whole[3:7])
    # A rescoring hands the whole configuration over.
    again = AttributionSetup(tracin=make_tracin(), options=method.configuration)
    assert get_method(name).make(again).configuration == method.configuration


def test_an_image_network_has_embeddings_too():
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(18, 3)).double()
    images = small.make_examples(5, 1, shape=(1, 4, 4))
    setup = AttributionSetup(tracin=small.make_tracin(model))
    found = get_method("embedding_similarity").make(setup).influence(images, images)
    torch.testing.assert_close(found.diagonal(), torch.ones(5, dtype=torch.float64))
