"""kronfluence's tests of gradients and scores, with the identity for its inverse Hessian."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor
from torch.utils.data import Subset, default_collate

from tests.oracles import EXACT
from tests.tracin_core.curvature import small
from tests.tracin_core.peers.families import has_no_equivalent, restates
from tests.tracin_core.peers.networks import (
    NETWORKS,
    cross_entropy,
    make_network,
    make_tracin,
    mse,
    own_gradients,
)
from tracin_core import Checkpoint, Projection
from tracin_core.losses import negative_score

KRONFLUENCE = "kronfluence"
TABLES = tuple(NETWORKS)
SMALL = ("perceptron", "convolutions, BatchNorm", "GPT-2")
BATCHES = (2, 4)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, **EXACT)


@cache
def _make_once(name: str, count: int):
    """Return a network, its examples, the loss and the gradients, all to be left as they are."""
    torch.manual_seed(TABLES.index(name))
    model, examples, loss, own = make_network(name, count)
    return model, examples, loss, own_gradients(model, model.state_dict(), examples, own)


def make(name: str, count: int = 10, **options):
    """Return the engine with one checkpoint, examples, gradients one by one, and the model."""
    made, examples, loss, gradients = _make_once(name, count)
    torch.manual_seed(TABLES.index(name))
    model = copy.deepcopy(made)
    weights = copy.deepcopy(model.state_dict())
    tracin = make_tracin(model, [Checkpoint(weights, 1.0)], loss=loss, **options)
    return tracin, examples, gradients, model


@restates(KRONFLUENCE, "gradients of each example are those of a loop", 14,
          network=TABLES, of=("loss", "measurement"), batch_size=(3, 10))  # fmt: skip
def loop(network: str, of: str, batch_size: int) -> None:
    tracin, examples, gradients, model = make(network, batch_size=batch_size)
    if of == "loss":
        close(tracin.vectors(examples), gradients)
        return
    expected = own_gradients(model, model.state_dict(), examples, lambda o, t: negative_score(o, t))
    close(tracin.vectors(examples, explain="score"), expected)


@restates(KRONFLUENCE, "the mean of the gradients is the gradient of the mean", 14,
          network=TABLES, count=(11,), batch_size=(4,))  # fmt: skip
def mean(network: str, count: int, batch_size: int) -> None:
    tracin, examples, _, model = make(network, count, batch_size=batch_size)
    inputs, targets = default_collate(examples)
    model.eval()
    outputs = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    loss = mse if NETWORKS[network][1] else cross_entropy
    loss(outputs, targets).mean().backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    close(tracin.vectors(examples).mean(0), torch.cat([part.flatten() for part in parts]))


@restates(KRONFLUENCE, "pairwise scores are products of gradients, to each example its own row",
          14, network=TABLES, queries=(3, 6))  # fmt: skip
def pairwise(network: str, queries: int) -> None:
    tracin, examples, gradients, _ = make(network, batch_size=4)
    found = tracin.influence(examples, examples[:queries])
    close(found, gradients @ gradients[:queries].T)


@restates(KRONFLUENCE, "self-scores are the diagonal of pairwise scores", 19, network=TABLES,
          batch_size=(4, 10))  # fmt: skip
def diagonal(network: str, batch_size: int) -> None:
    tracin, examples, gradients, _ = make(network, batch_size=batch_size)
    close(tracin.self_influence(examples), gradients.square().sum(1))
    close(tracin.influence(examples, examples).diag(), tracin.self_influence(examples))


@restates(KRONFLUENCE, "scores do not depend on the size of a batch", 16, network=TABLES,
          batch_size=BATCHES, mode=("self", "pairwise"))  # fmt: skip
def batch_size_alone(network: str, batch_size: int, mode: str) -> None:
    one, examples, _, _ = make(network, 9, batch_size=9)
    other, _, _, _ = make(network, 9, batch_size=batch_size)
    if mode == "self":
        close(other.self_influence(examples), one.self_influence(examples))
    else:
        close(other.influence(examples, examples[:4]), one.influence(examples, examples[:4]))


@restates(KRONFLUENCE, "parts of the data, put together, are the whole", 36, network=TABLES,
          parts=(2, 4), mode=("self", "vectors"))  # fmt: skip
def data_parts(network: str, parts: int, mode: str) -> None:
    tracin, examples, _, _ = make(network, 9, batch_size=4)
    run = tracin.self_influence if mode == "self" else tracin.vectors
    size = -(-len(examples) // parts)
    pieces = [run(examples[start : start + size]) for start in range(0, len(examples), size)]
    close(torch.cat(pieces), run(examples))


@restates(KRONFLUENCE, "modules one by one add up to all of them", 42, network=TABLES,
          mode=("self", "pairwise"))  # fmt: skip
def module_parts(network: str, mode: str) -> None:
    tracin, examples, _, model = make(network, 6)
    names = [
        name
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]

    def run(engine) -> Tensor:
        if mode == "self":
            return engine.self_influence(examples)
        return engine.influence(examples, examples[:3])

    total = torch.zeros_like(run(tracin))
    for name in names:
        total += run(make(network, 6, layers=(name,))[0])
    close(total, run(tracin))


@restates(KRONFLUENCE, "chosen examples are those of the whole at their places", 20,
          network=SMALL, indices=((0, 2, 7), (5,), (9, 1)))  # fmt: skip
def chosen_indices(network: str, indices: tuple[int, ...]) -> None:
    tracin, examples, _, _ = make(network)
    chosen = Subset(examples, list(indices))
    close(tracin.self_influence(chosen), tracin.self_influence(examples)[list(indices)])


@restates(KRONFLUENCE, "a layer used in several places adds all its uses up", 12,
          network=("repeated layer", "GPT-2", "BERT"), batch_size=(2, 10))  # fmt: skip
def shared_parameters(network: str, batch_size: int) -> None:
    tracin, examples, gradients, _ = make(network, batch_size=batch_size)
    close(tracin.self_influence(examples), gradients.square().sum(1))


@restates(KRONFLUENCE, "activations in place change nothing", 3, batch_size=(4, 10))
def in_place(batch_size: int) -> None:
    plain, examples, _, model = make("convolutions", batch_size=batch_size)
    loss_model = NETWORKS["convolutions, in place"][0]().double()
    weights = model.state_dict()
    other = make_tracin(loss_model, [Checkpoint(weights, 1.0)], batch_size=batch_size)
    close(other.vectors(examples), plain.vectors(examples))


@restates(KRONFLUENCE, "blocks computed again in the backward pass change nothing", 4,
          batch_size=(1, 4, 10), mode=("self", "pairwise", "vectors"))  # fmt: skip
def recomputed(batch_size: int, mode: str) -> None:
    tracin, examples, gradients, _ = make("recomputed", batch_size=batch_size)
    if mode == "self":
        close(tracin.self_influence(examples), gradients.square().sum(1))
    elif mode == "pairwise":
        close(tracin.influence(examples, examples[:3]), gradients @ gradients[:3].T)
    else:
        close(tracin.vectors(examples), gradients)


@restates(KRONFLUENCE, "the sum of queries has the sum of their scores", 10, network=SMALL,
          of=("queries", "train examples"))  # fmt: skip
def aggregated(network: str, of: str) -> None:
    tracin, examples, _, _ = make(network)
    scores = tracin.influence(examples, examples[:5])
    vectors = tracin.vectors(examples)
    if of == "queries":
        close(vectors @ vectors[:5].sum(0), scores.sum(1))
        close(tracin.influence(examples, examples[:5], aggregate=True), scores.sum(1))
    else:
        close(vectors.sum(0) @ vectors[:5].T, scores.sum(0))


@restates(KRONFLUENCE, "the model runs and trains as before when it has been scored", 25,
          network=TABLES, training=(True, False))  # fmt: skip
def untouched(network: str, training: bool) -> None:
    tracin, examples, _, model = make(network, 5)
    model.train(training)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    tracin.self_influence(examples)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(value.grad is None and value.requires_grad for value in model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())


@restates(KRONFLUENCE, "another number type gives the same scores within its rounding", 96,
          network=TABLES)  # fmt: skip
def single_precision(network: str) -> None:
    _, examples, gradients, model = make(network)
    single = copy.deepcopy(model).float()
    rows = [(_to_single(inputs), _to_single(target)) for inputs, target in examples]
    loss = "mse" if NETWORKS[network][1] else "cross_entropy"
    other = make_tracin(single, [Checkpoint(single.state_dict(), 1.0)], loss=loss)
    found = other.self_influence(rows).double()
    torch.testing.assert_close(found, gradients.square().sum(1), rtol=1e-3, atol=1e-8)


@restates(KRONFLUENCE, "queries of low rank score as whole ones within the sketch's error", 24,
          network=("perceptron", "convolutions"), dim=(512,))  # fmt: skip
def low_rank(network: str, dim: int) -> None:
    tracin, examples, gradients, _ = make(network)
    projection = Projection(dim, seed=0)
    vectors = tracin.vectors(examples, projection)
    norms = gradients.norm(dim=1)
    error = (vectors @ vectors.T - gradients @ gradients.T) / norms.outer(norms)
    assert error.square().mean().sqrt() < 2 * projection.expected_error


@restates(KRONFLUENCE, "a whole run: losses, norms, vectors and scores of one pass agree", 28,
          network=TABLES, projected=(True, False))  # fmt: skip
def whole_run(network: str, projected: bool) -> None:
    projection = Projection(64, seed=0) if projected else None
    tracin, examples, gradients, _ = make(network, batch_size=4)
    found = tracin.capture(examples, projection=projection)
    close(found.self_influence(), gradients.square().sum(1))
    assert found.losses.shape[-1] == len(examples)
    if projected:
        close(found.vectors, tracin.vectors(examples, projection))


def _to_single(value):
    if isinstance(value, dict):
        return {key: _to_single(item) for key, item in value.items()}
    return value.float() if value.is_floating_point() else value


@restates(
    KRONFLUENCE,
    "EK-FAC: covariances, eigenvectors and lambdas are those of a loop, whatever the batches",
    145,
    kind=("linear", "convolutional"),
    batch_size=(4, 13),
    of=("pairwise", "self"),
)
def ekfac(kind: str, batch_size: int, of: str) -> None:
    images = kind == "convolutional"
    model = small.make_images() if images else small.make_model()
    train = small.make_examples(13, 1, shape=(1, 4, 4) if images else (3,))
    rows = small.gradients(model, train, "cross_entropy", small.name_parameters(model, "all"))
    expected = rows @ small.explicit_ekfac(model, train, 0.01) @ rows.T / 13
    tracin = small.make_tracin(model, batch_size=batch_size)
    method = small.attribute(tracin, solver="ekfac", layers="all", samples=0)
    method.fit(train)
    if of == "self":
        found, expected = method.scores(train)["influence_on_itself"], expected.diagonal()
    else:
        found = method.influence(train, train)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


for _name, _theirs, _reason in (
    ("scores of single tokens", 6, "an example is what a person checks"),
    ("products and decompositions of query gradients", 19, "parts of their own computation"),
    ("gradients kept on the CPU", 22, "memory is bounded by smaller batches"),
    ("samplers and partitions of distributed runs", 27, "one process scores"),
    ("their own test tasks and default arguments", 7, "about their own code"),
    ("compilation, automatic mixed precision, DDP, FSDP", 28, "need a GPU, or several processes"),
):
    has_no_equivalent(KRONFLUENCE, _name, _theirs, _reason)
