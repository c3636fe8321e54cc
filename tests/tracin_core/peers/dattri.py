"""dattri's tests of TracIn, projections, label noise and detection, in our own words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from relabel.features.records import flip_labels
from relabel.scoring.evaluate import evaluate_detection
from tests.oracles import EXACT
from tests.tracin_core.curvature import small
from tests.tracin_core.peers.families import has_no_equivalent, restates
from tests.tracin_core.peers.networks import (
    cross_entropy,
    make_checkpoints,
    make_tracin,
    own_gradients,
)
from tracin_core import AttributionSetup, Checkpoint, Projection, get_method
from tracin_core.curvature.operator import NetworkCurvature
from tracin_core.errors import TracInError
from tracin_core.retrieval.exact import CosineSearch
from tracin_core.truth import draw_halves, leave_one_out, retrain_parts, score_datamodel

DATTRI = "dattri"
RATES = (0.5, 1.0)
CLASSES = 10


class Residual(nn.Module):
    """Convolutions with BatchNorm and a connection around two of them, to ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.around = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)
        )
        self.leave = nn.Linear(4 * 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 1, 8, 8)`` to ``(B, 10)``."""
        h = self.enter(x)
        h = nn.functional.max_pool2d(torch.relu(h + self.around(h)), 4)
        return self.leave(h.flatten(1))


NETWORKS = {
    "logistic regression": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)),
    "perceptron": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, CLASSES)
    ),
    "residual": Residual,
}


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, **EXACT)


def images(count: int) -> TensorDataset:
    return TensorDataset(
        torch.randn(count, 1, 8, 8, dtype=torch.float64), torch.randint(CLASSES, (count,))
    )


def make(name: str) -> tuple[nn.Module, list[Checkpoint], TensorDataset, TensorDataset]:
    torch.manual_seed(0)
    model = NETWORKS[name]().double()
    return model, make_checkpoints(model, RATES), images(20), images(10)


@restates(
    DATTRI,
    "scores are the weighted sum over checkpoints of products of gradients",
    1,
    network=tuple(NETWORKS),
    batch_size=(4, 20),
    layers=("all", "last"),
)
def weighted_sum(network: str, batch_size: int, layers: str) -> None:
    model, checkpoints, train, test = make(network)
    tracin = make_tracin(model, checkpoints, layers=layers, batch_size=batch_size)
    found = tracin.influence(DataLoader(train, batch_size=batch_size), test)
    taken = tracin.coverage.covered
    total = torch.zeros(20, 10, dtype=torch.float64)
    for checkpoint in checkpoints:
        left, right = (
            own_gradients(model, checkpoint.weights, data, cross_entropy, taken)
            for data in (train, test)
        )
        total += checkpoint.learning_rate * left @ right.T
    close(found, total)


@restates(
    DATTRI,
    "self-attribution is the diagonal of attribution, also of gradients of length one",
    1,
    network=tuple(NETWORKS),
    measure=("product", "cosine"),
    batch_size=(7, 20),
)
def diagonal(network: str, measure: str, batch_size: int) -> None:
    model, checkpoints, train, _ = make(network)
    tracin = make_tracin(model, checkpoints, batch_size=batch_size)
    if measure == "product":
        close(tracin.self_influence(train), tracin.influence(train, train).diag())
        return
    vectors = tracin.vectors(train).float().numpy()
    found = CosineSearch(vectors).search(vectors, 1)
    assert found.indices[:, 0].tolist() == list(range(20))
    np.testing.assert_allclose(found.scores[:, 0], 1, atol=1e-6)


@restates(DATTRI, "a checkpoint is its weights, and none is left of the one before", 3,
          network=tuple(NETWORKS), order=(1, -1))  # fmt: skip
def each_checkpoint_its_own(network: str, order: int) -> None:
    model, checkpoints, train, _ = make(network)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    alone = [make_tracin(model, [c]).self_influence(train) for c in checkpoints]
    together = make_tracin(model, checkpoints[::order]).self_influence(train)
    close(together, alone[0] + alone[1])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class DictRows(Dataset):
    """Examples as dicts, which a loader's own collation turns into pairs."""

    def __init__(self, rows: TensorDataset) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image, label = self.rows[index]
        return {"input": image, "label": label}


def collate(rows: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([r["input"] for r in rows]), torch.stack([r["label"] for r in rows])


@restates(DATTRI, "examples that are dicts are taken through the loader's collation", 1,
          network=tuple(NETWORKS), batch_size=(2, 4))  # fmt: skip
def dict_rows(network: str, batch_size: int) -> None:
    model, checkpoints, train, _ = make(network)
    tracin = make_tracin(model, checkpoints, batch_size=batch_size)
    loader = DataLoader(DictRows(train), batch_size=batch_size, collate_fn=collate)
    close(tracin.self_influence(loader), tracin.self_influence(train))


@restates(DATTRI, "chosen layers alone are attributed, and add up to all", 1,
          batch_size=(4, 20))  # fmt: skip
def chosen_layers(batch_size: int) -> None:
    model, checkpoints, train, test = make("residual")
    whole = make_tracin(model, checkpoints, batch_size=batch_size).influence(train, test)
    parts = [
        make_tracin(model, checkpoints, layers=(name,), batch_size=batch_size).influence(
            train, test
        )
        for name in ("enter.0", "enter.1", "around", "leave")
    ]
    close(sum(parts[1:], parts[0]), whole)


@restates(DATTRI, "options that cannot work are refused", 1, "refused",
          what=("layer", "rates", "projection", "batch size"))  # fmt: skip
def impossible_options(what: str) -> None:
    model, checkpoints, train, _ = make("perceptron")
    no_rate = [Checkpoint(model.state_dict())]
    attempts: dict[str, Callable[[], object]] = {
        "layer": lambda: make_tracin(model, checkpoints, layers=("no such layer",)),
        "rates": lambda: make_tracin(model, no_rate).self_influence(train),
        "projection": lambda: Projection(0),
        "batch size": lambda: make_tracin(model, checkpoints, batch_size=0),
    }
    with pytest.raises(TracInError):
        attempts[what]()


@restates(
    DATTRI,
    "a projection has the length asked for, is the same by its seed, and takes any batch",
    4,
    dim=(8, 50, 64, 512),
    network=("logistic regression", "perceptron", "residual"),
)
def projections(dim: int, network: str) -> None:
    model, checkpoints, train, test = make(network)
    tracin = make_tracin(model, checkpoints, batch_size=20)
    one, two = Projection(dim, seed=3), Projection(dim, seed=4)
    found = tracin.vectors(train, one)
    assert found.shape == (20, dim)
    close(make_tracin(model, checkpoints, batch_size=3).vectors(train, one), found)
    assert not torch.allclose(tracin.vectors(train, two), found)
    close(tracin.vectors(test, one)[:4], tracin.vectors(TensorDataset(*test[:4]), one))


@restates(DATTRI, "products of projected gradients are the exact ones within the sketch's error",
          1, dim=(256, 1024), network=("perceptron", "residual"))  # fmt: skip
def sketch(dim: int, network: str) -> None:
    model, checkpoints, train, test = make(network)
    tracin = make_tracin(model, checkpoints)
    projection = Projection(dim, seed=0)
    exact = tracin.influence(train, test)
    left, right = tracin.vectors(train, projection), tracin.vectors(test, projection)
    scale = tracin.self_influence(train).sqrt().outer(tracin.self_influence(test).sqrt())
    error = ((left @ right.T - exact) / scale).square().mean().sqrt()
    assert error < 2 * projection.expected_error


@restates(DATTRI, "detection: of ranked numbers the area under the curve is known", 2,
          wrong=((90, 100, 1.0), (80, 90, 8 / 9), (0, 10, 0.0), (45, 55, 0.5)))  # fmt: skip
def area_under_the_curve(wrong: tuple[int, int, float]) -> None:
    first, last, expected = wrong
    mask = np.zeros(100, dtype=bool)
    mask[first:last] = True
    assert evaluate_detection("order", np.arange(100.0), mask).auroc == pytest.approx(expected)


@restates(DATTRI, "label noise: others stay, none keeps its class, classes are met evenly", 1,
          classes=(2, 10), share=(0.1, 0.3))  # fmt: skip
def label_noise(classes: int, share: float) -> None:
    count = 20_000
    labels = np.random.default_rng(0).integers(classes, size=count)
    before = labels.copy()
    flipped = flip_labels(labels, classes, noise=share, seed=1)
    changed = flipped != labels
    assert (labels == before).all()
    assert changed.sum() == pytest.approx(share * count, abs=1)
    met = np.bincount(flipped[changed], minlength=classes)
    expected = changed.sum() / classes
    # Four standard deviations of a share of one in `classes`.
    assert np.abs(met - expected).max() < 4 * (expected * (1 - 1 / classes)) ** 0.5


@restates(DATTRI, "what reaches the last layer, for every example in order", 1,
          batch_size=(2, 5))  # fmt: skip
def last_inputs(batch_size: int) -> None:
    """The last layer's gradient is the outer product of what reached it and of its error."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 8), nn.ReLU())
    model = nn.Sequential(body, nn.Linear(8, 5)).double()
    x, y = torch.randn(10, 10).double(), torch.randint(2, (10,))
    tracin = make_tracin(
        model, [Checkpoint(model.state_dict(), 1.0)], layers="last", batch_size=batch_size
    )
    with torch.no_grad():
        features = body(x)
        errors = model(x).softmax(1) - nn.functional.one_hot(y, 5)
    weight = (errors.unsqueeze(2) * features.unsqueeze(1)).flatten(1)
    close(tracin.vectors(TensorDataset(x, y)), torch.cat([weight, errors], 1))


@restates(DATTRI, "dropout that was left on is off in scores", 1, training=(True, False))
def dropout(training: bool) -> None:
    model, checkpoints, train, _ = make("perceptron")
    model.train(training)
    found = make_tracin(model, checkpoints).self_influence(train)
    close(make_tracin(model.eval(), checkpoints).self_influence(train), found)


@restates(
    DATTRI,
    "influence functions by every solver come near the explicit ones, and are self-scores' rows",
    5,
    solver=("dense", "cg", "lissa", "arnoldi", "ekfac"),
    layers=("last", "all"),
)
def solvers(solver: str, layers: str) -> None:
    train, test = small.make_examples(40, 1), small.make_examples(6, 2)
    tracin = small.make_tracin(batch_size=20)
    options = {"depth": 30, "samples": 0 if solver == "ekfac" else 2, "rank": 40}
    method = small.attribute(tracin, solver=solver, layers=layers, damping=0.3, **options)
    found = method.influence(train, test)
    expected = small.explicit_influence(
        tracin.model, train, test, "cross_entropy", layers, damping=0.3
    )
    # EK-FAC leaves out what two layers share, LiSSA ends its series.
    within = {"dense": 1e-7, "cg": 1e-4, "arnoldi": 1e-4}.get(solver, 0.5)
    assert (found - expected).norm() / expected.norm() < within
    if solver != "lissa":  # which draws examples anew
        (own,) = method.scores(train).values()
        torch.testing.assert_close(
            own, method.influence(train, train).diagonal(), rtol=1e-4, atol=1e-6
        )


@restates(DATTRI, "products with Hessians and Gauss-Newton matrices are the explicit ones", 14,
          loss=small.LOSSES, layers=("last", "all"), kind=("hessian", "gauss_newton"))  # fmt: skip
def products(loss: str, layers: str, kind: str) -> None:
    train = small.make_examples(9, 3, loss)
    tracin = small.make_tracin(loss=loss, batch_size=4)
    names = small.name_parameters(tracin.model, layers)
    expected = small.explicit_curvature(tracin.model, train, loss, names, kind)
    columns = torch.randn(len(expected), 2, dtype=torch.float64)
    close(NetworkCurvature(tracin, names, train, kind).multiply(columns), expected @ columns)


@restates(DATTRI, "representer points: the parts of all train examples are the output", 2,
          loss=("cross_entropy", "binary_cross_entropy"), part=(4, 20))  # fmt: skip
def representer(loss: str, part: int) -> None:
    train, test = small.make_examples(20, 1, loss), small.make_examples(5, 2, loss)
    setup = AttributionSetup(tracin=small.make_tracin(loss=loss), options={"decay": 0.02})
    method = get_method("representer").make(setup)
    method.fit(train)
    whole = method.influence(train, test)
    close(method.influence(TensorDataset(*train[:part]), test), whole[:part])
    # Each part has the sign with which its example spoke for the class.
    assert whole.shape == (20, 5)
    assert (whole > 0).any()
    assert (whole < 0).any()


@restates(DATTRI, "leave one out and the datamodeling score, by training again on parts", 4,
          of=("one left out", "halves", "parts", "a reversed attribution"))  # fmt: skip
def retraining(of: str) -> None:
    """The mean of numbers is a model whose retraining is known: each adds its share."""
    numbers = torch.randn(12, generator=torch.Generator().manual_seed(0)).double()
    asked = torch.tensor([-0.5, 0.0, 2.0]).double()

    def retrain(places: Tensor) -> Tensor:
        # Linear in the sum of the members, so that a sum of influences ranks it exactly.
        return -numbers[places].sum() * (asked + 1)

    exact = numbers[:, None] * (asked + 1)
    if of == "one left out":
        close(leave_one_out(retrain, 12), exact)
        return
    masks = draw_halves(12, 20, seed=1)
    assert (masks.sum(1) == 6).all()
    losses = retrain_parts(retrain, masks)
    if of == "parts":
        close(losses, -(masks.double() @ exact))
        return
    sign = -1 if of == "a reversed attribution" else 1
    score = score_datamodel(sign * exact, masks, losses)
    assert score.mean == pytest.approx(sign)


for _name, _theirs, _reason in (
    ("TRAK", 3, "no kernel regression over features here"),
    ("LoGra, FactGraSS", 6, "projections of other methods"),
    ("DVEmb", 7, "follows the whole course of training, step by step"),
    ("influence functions by DataInf", 1, "EK-FAC is what is here for large networks"),
    ("KNN-Shapley", 1, "values of neighbours are not in the engine"),
    ("training scripts of their benchmarks", 13, "about their own scripts and data"),
    ("projections on CUDA, Arnoldi projector", 13, "there is one kind of projection"),
):
    has_no_equivalent(DATTRI, _name, _theirs, _reason)
