"""captum's influence tests (TracInCP, TracInCPFast, TracInCPFastRandProj), in our own words."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.oracles import EXACT
from tests.tracin_core.curvature import small
from tests.tracin_core.peers.families import restates
from tests.tracin_core.peers.networks import (
    Joined,
    joined_data,
    make_checkpoints,
    make_tracin,
    mse,
    own_gradients,
    regression_on_a_line,
)
from tracin_core import (
    AttributionSetup,
    Checkpoint,
    Projection,
    TracIn,
    find_checkpoints,
    get_method,
)
from tracin_core.errors import TracInError
from tracin_core.retrieval.exact import ExactSearch

CAPTUM = "captum"
RATES = (0.5, 0.1, 1.0)
INPUTS = (1, 2)
LAYERS: tuple[object, ...] = ("all", ("linear1",), ("linear1", "linear2"), "last")


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, **EXACT)


def network(inputs: int, count: int = 22) -> tuple[nn.Module, list[Checkpoint], list]:
    torch.manual_seed(inputs)
    model = Joined(inputs).double()
    return model, make_checkpoints(model, RATES, 1.0), joined_data(count, inputs)


@restates(
    CAPTUM,
    "on a line, the largest number has the most influence, on seen and unseen numbers",
    14,
    features=(1, 20),
    batch_size=(4, 5, 16),
    way=("influence", "vectors", "projected", "last layer"),
)
def largest_number_first(features: int, batch_size: int, way: str) -> None:
    model, checkpoints, examples = regression_on_a_line(features)
    numbers = torch.arange(17, 33, dtype=torch.float64).unsqueeze(1)
    unseen = TensorDataset(numbers.repeat(1, features), numbers)
    layers = "last" if way == "last layer" else "all"
    tracin = make_tracin(model, checkpoints, loss="mse", batch_size=batch_size, layers=layers)
    projection = Projection(4, seed=0) if way == "projected" else None
    for queries in (examples, unseen):
        if way in ("vectors", "projected"):
            train, test = (tracin.vectors(e, projection) for e in (examples, queries))
            scores = train @ test.T
        else:
            scores = tracin.influence(examples, queries)
        order = scores.argsort(dim=0, descending=True)
        assert (order == torch.arange(15, -1, -1).unsqueeze(1)).all()


@restates(
    CAPTUM,
    "on a line, scores are those of the closed formula",
    5,
    batch_size=(3, 4, 5, 16),
    layers=("all", "last"),
    way=("influence", "vectors"),
)
def closed_formula(batch_size: int, layers: str, way: str) -> None:
    """The gradient of ``(w x - x)^2`` is ``2 x^2 (w - 1)``."""
    model, checkpoints, examples = regression_on_a_line(1)
    tracin = make_tracin(model, checkpoints, loss="mse", layers=layers, batch_size=batch_size)
    if way == "influence":
        found = tracin.influence(examples, examples)
    else:
        vectors = tracin.vectors(examples)
        found = vectors @ vectors.T
    squares = examples.tensors[0].square()
    factor = sum((2 * (float(c.weights["weight"]) - 1)) ** 2 for c in checkpoints)
    close(found, factor * squares * squares.T)
    close(tracin.self_influence(examples), (factor * squares * squares.T).diag())


@restates(
    CAPTUM,
    "of unit vectors, each influences itself alone",
    6,
    batch_size=(1, 4, 7),
    layers=("all", "last"),
    way=("influence", "vectors"),
)
def unit_vectors(batch_size: int, layers: str, way: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(7, 1, bias=False).double()
    made = []
    for _ in range(5):
        nn.init.uniform_(model.weight, 0.1, 1.0)
        made.append(Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=1.0))
    examples = TensorDataset(torch.eye(7).double(), torch.zeros(7, 1).double())
    tracin = make_tracin(model, made, loss="mse", layers=layers, batch_size=batch_size)
    if way == "influence":
        scores = tracin.influence(examples, examples)
    else:
        vectors = tracin.vectors(examples)
        scores = vectors @ vectors.T
    assert (scores.diag() > 0).all()
    close(scores, torch.diag(scores.diag()))


@restates(CAPTUM, "of opposite quadrants, neighbours with the same label are proponents", 2,
          batch_size=(9, 40))  # fmt: skip
def quadrants(batch_size: int) -> None:
    """Points of one quadrant have a label, those of the two beside it the other."""
    torch.manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(40, 2).double(), dim=1)
    labels = torch.where(points.prod(1, keepdim=True) > 0, 1.0, -1.0).double()
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Tanh()).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    made = []
    for step in range(120):
        optimizer.zero_grad()
        mse(model(points), labels).mean().backward()
        optimizer.step()
        if step % 20 == 10:
            made.append(Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=0.05))
    angles = torch.tensor([0.25, 0.75, 1.25, 1.75]).double() * torch.pi
    tests = torch.stack([angles.cos(), angles.sin()], 1)
    expected = torch.where(tests.prod(1) > 0, 1.0, -1.0).double()
    tracin = make_tracin(model, made, loss="mse", batch_size=batch_size)
    scores = tracin.influence(
        TensorDataset(points, labels), TensorDataset(tests, expected.unsqueeze(1))
    )
    best = scores.topk(5, dim=0).indices
    assert (labels[best].squeeze(-1) == expected).all()


@restates(
    CAPTUM,
    "self-influence is the diagonal of influence",
    12,
    inputs=INPUTS,
    layers=LAYERS,
    batch_size=(5, 22),
)
def diagonal(inputs: int, layers: object, batch_size: int) -> None:
    model, checkpoints, examples = network(inputs)
    tracin = make_tracin(model, checkpoints, loss="mse", layers=layers, batch_size=batch_size)
    scores = tracin.influence(examples, examples)
    close(tracin.self_influence(examples), scores.diag())
    # And both are what one backward pass an example gives.
    taken = tracin.coverage.covered
    total = torch.zeros_like(scores)
    for checkpoint in checkpoints:
        rows = own_gradients(model, checkpoint.weights, examples, mse, taken)
        total += checkpoint.learning_rate * rows @ rows.T
    close(scores, total)


@restates(
    CAPTUM,
    "self-influence of a loader is that of a single batch",
    8,
    inputs=INPUTS,
    layers=("all", "last"),
    batch_size=(4, 5, 7),
)
def loader_or_batch(inputs: int, layers: str, batch_size: int) -> None:
    model, checkpoints, examples = network(inputs)
    whole = make_tracin(model, checkpoints, loss="mse", layers=layers, batch_size=len(examples))
    loader = DataLoader(examples, batch_size=batch_size)
    close(whole.self_influence(loader), whole.self_influence(examples))


@restates(
    CAPTUM,
    "influence from a data set is that from a loader of it",
    8,
    inputs=INPUTS,
    layers=("all", "last"),
    batch_size=(5, 22),
)
def dataset_or_loader(inputs: int, layers: str, batch_size: int) -> None:
    model, checkpoints, examples = network(inputs)
    tracin = make_tracin(model, checkpoints, loss="mse", layers=layers, batch_size=batch_size)
    loader = DataLoader(examples, batch_size=batch_size, shuffle=False)
    close(tracin.influence(loader, examples[:6]), tracin.influence(examples, examples[:6]))


@restates(
    CAPTUM,
    "the influence on a set is the sum over its examples, however it is batched",
    8,
    inputs=INPUTS,
    batch_size=(5, 7, 22),
)
def sum_over_tests(inputs: int, batch_size: int) -> None:
    model, checkpoints, examples = network(inputs)
    tracin = make_tracin(model, checkpoints, loss="mse", batch_size=batch_size)
    vectors = tracin.vectors(examples)
    on_the_set = vectors @ vectors[:9].sum(0)
    close(tracin.influence(examples, examples[:9]).sum(1), on_the_set)
    close(tracin.influence(examples, examples[:9], aggregate=True), on_the_set)


@restates(
    CAPTUM,
    "dot products of vectors are influences, with a loader or a single batch",
    10,
    inputs=INPUTS,
    layers=("all", "last"),
    batch_size=(5, 22),
)
def dot_products(inputs: int, layers: str, batch_size: int) -> None:
    model, checkpoints, examples = network(inputs)
    tests = joined_data(7, inputs)
    tracin = make_tracin(model, checkpoints, loss="mse", layers=layers, batch_size=batch_size)
    train = tracin.vectors(DataLoader(examples, batch_size=batch_size))
    close(train, tracin.vectors(examples))
    close(train @ tracin.vectors(tests).T, tracin.influence(examples, tests))


@restates(CAPTUM, "a projected vector has the length that was asked for", 6,
          dim=(None, 2, 4, 9, 10, 12))  # fmt: skip
def length_of_a_vector(dim: int | None) -> None:
    model, checkpoints, examples = network(1)
    tracin = make_tracin(model, checkpoints, loss="mse", layers="last")
    projection = None if dim is None else Projection(dim, seed=1)
    numbers = sum(p.numel() for p in model.linear2.parameters())
    expected = numbers * len(checkpoints) if dim is None else dim
    assert tracin.vectors(examples[:1], projection).shape == (1, expected)


@restates(
    CAPTUM,
    "the k first are those of all, sorted",
    120,
    sizes=((4, 7), (7, 4), (40, 5), (5, 40), (40, 45)),
    inputs=INPUTS,
    side=("proponents", "opponents"),
    layers=("all", "last"),
)
def k_first(sizes: tuple[int, int], inputs: int, side: str, layers: str) -> None:
    batch_size, k = sizes
    model, checkpoints, examples = network(inputs)
    tests = joined_data(6, inputs)
    tracin = make_tracin(model, checkpoints, loss="mse", layers=layers, batch_size=batch_size)
    scores = tracin.influence(examples, tests)
    found = ExactSearch(tracin.vectors(examples).float().numpy()).search(
        tracin.vectors(tests).numpy(), k, side
    )
    order = scores.argsort(dim=0, descending=side == "proponents")[:k].T
    ranked = getattr(tracin, side)(examples, tests, k)
    assert ranked.indices.tolist() == order.tolist()
    picked = torch.from_numpy(found.indices)
    assert picked.shape == order.shape
    # Vectors are kept in single precision: scores agree to that, and so does the order.
    expected = scores.T.gather(1, order)
    torch.testing.assert_close(scores.T.gather(1, picked), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.from_numpy(found.scores), expected, rtol=1e-5, atol=1e-5)


@restates(
    CAPTUM,
    "progress ends with all that was to be done",
    6,
    mode=("self_influence", "influence", "vectors", "capture"),
    layers=("all", "last"),
)
def progress(mode: str, layers: str) -> None:
    model, checkpoints, examples = network(1)
    tracin = make_tracin(model, checkpoints, loss="mse", layers=layers, batch_size=5)
    told: list[tuple[int, int]] = []
    more = [examples[:3]] if mode == "influence" else []
    getattr(tracin, mode)(examples, *more, on_progress=lambda *step: told.append(step))
    assert told[-1] == (len(examples) * len(checkpoints),) * 2
    assert told == sorted(told)
    assert len({step for step in told if step[0] == step[1]}) == 1


@restates(CAPTUM, "a linear regression's gradients are twice the error times the inputs", 2,
          features=(1, 5), batch_size=(5, 25))  # fmt: skip
def linear_regression(features: int, batch_size: int) -> None:
    torch.manual_seed(0)
    model = nn.Linear(features, 1, bias=False).double()
    x, y = torch.randn(25, features).double(), torch.randn(25, 1).double()
    made = [Checkpoint(model.state_dict(), learning_rate=1.0)]
    tracin = make_tracin(model, made, loss="mse", batch_size=batch_size)
    with torch.no_grad():
        expected = 2 * (model(x) - y) * x
    close(tracin.vectors(TensorDataset(x, y)), expected)


@restates(CAPTUM, "what is missing or does not exist is named", 5, "refused",
          what=("examples", "layer", "checkpoints", "folder", "empty folder"))  # fmt: skip
def missing_things(what: str) -> None:
    model, checkpoints, _ = network(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        attempts: dict[str, Callable[[], object]] = {
            "examples": lambda: make_tracin(model, checkpoints).influence(None, None),
            "layer": lambda: make_tracin(model, checkpoints, layers=("invalid",)),
            "checkpoints": lambda: TracIn(model, [], loss="mse"),
            "folder": lambda: find_checkpoints(folder / "none"),
            "empty folder": lambda: find_checkpoints(folder),
        }
        with pytest.raises(TracInError) as told:
            attempts[what]()
    assert "expected" in str(told.value).lower()


@restates(CAPTUM, "a loss that is no loss of single examples is told", 1, "refused",
          reduction=("sum", "mean"))  # fmt: skip
def reduced_loss(reduction: str) -> None:
    model, checkpoints, examples = network(1)
    loss = nn.MSELoss(reduction=reduction)
    with pytest.raises(TracInError, match="one number for each example"):
        make_tracin(model, checkpoints, loss=loss).self_influence(examples)


@restates(
    CAPTUM,
    "influence functions, exact Hessian: those of the explicit inverse, whatever the batches",
    36,
    loss=small.LOSSES,
    layers=("last", "all"),
    batch_size=(4, 11),
)
def exact_hessian(loss: str, layers: str, batch_size: int) -> None:
    train, test = small.make_examples(11, 1, loss), small.make_examples(5, 2, loss)
    tracin = small.make_tracin(loss=loss, batch_size=batch_size)
    method = small.attribute(tracin, layers=layers, solver="dense")
    expected = small.explicit_influence(tracin.model, train, test, loss, layers)
    torch.testing.assert_close(method.influence(train, test), expected, rtol=1e-7, atol=1e-9)
    itself = small.explicit_influence(tracin.model, train, train, loss, layers).diagonal()
    (own,) = method.scores(train).values()
    torch.testing.assert_close(own, itself, rtol=1e-7, atol=1e-9)


@restates(
    CAPTUM,
    "influence functions, Arnoldi iteration: on all its space those of the explicit inverse",
    21,
    # Of squared errors at the last layer every eigenvalue comes as often as there are outputs, and
    # a series of one vector finds each once.
    loss=("cross_entropy", "binary_cross_entropy"),
    layers=("last", "all"),
    way=("influence", "vectors"),
)
def arnoldi(loss: str, layers: str, way: str) -> None:
    train = small.make_examples(30, 1, loss)
    tracin = small.make_tracin(loss=loss)
    method = small.attribute(tracin, solver="arnoldi", layers=layers, rank=60, iterations=60)
    expected = small.explicit_influence(tracin.model, train, train, loss, layers)
    if way == "influence":
        found = method.influence(train, train)
    else:
        method.fit(train)
        vectors = method.vectors(train)
        found = vectors @ vectors.T
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@restates(
    CAPTUM,
    "similarity of activations: of several measures, each example is most alike to itself",
    5,
    similarity=("cosine", "distance", "dot"),
    batch_size=(4, 12),
)
def alike(similarity: str, batch_size: int) -> None:
    train = small.make_examples(12, 1)
    tracin = small.make_tracin(batch_size=batch_size)
    setup = AttributionSetup(tracin=tracin, options={"similarity": similarity})
    found = get_method("embedding_similarity").make(setup).influence(train, train)
    with torch.no_grad():
        hidden = tracin.model[:2](train.tensors[0])
    expected = {
        "cosine": nn.functional.cosine_similarity(hidden[:, None], hidden[None], dim=2),
        "distance": -torch.cdist(hidden, hidden),
        "dot": hidden @ hidden.T,
    }[similarity]
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)
    if similarity != "dot":  # a longer one may be more alike by that
        assert found.argmax(0).tolist() == list(range(12))
