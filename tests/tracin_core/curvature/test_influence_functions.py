"""Influence functions agree with the explicit inverse Hessian of a small network."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

from tests.oracles import EXACT, SINGLE
from tests.tracin_core.curvature import small
from tracin_core import Projection, TracInError
from tracin_core.curvature.operator import NetworkCurvature
from tracin_core.curvature.solvers import dense
from tracin_core.errors import ConfigurationError
from tracin_core.projection.rows import project_rows

CG = {"solver": "cg", "tolerance": 1e-12}
# The damping in units of the series' and the descent's own: enough for tests that take a moment.
FAST = 0.3


@pytest.mark.parametrize("kind", ["gauss_newton", "hessian"])
@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("loss", small.LOSSES)
def test_products_are_those_of_the_explicit_matrix(loss, layers, kind):
    train = small.make_examples(11, 1, loss)
    tracin = small.make_tracin(loss=loss, batch_size=4)
    names = small.name_parameters(tracin.model, layers)
    expected = small.explicit_curvature(tracin.model, train, loss, names, kind)
    curvature = NetworkCurvature(tracin, names, train, kind)
    actual = curvature.multiply(torch.eye(len(expected), dtype=torch.float64))
    torch.testing.assert_close(actual, expected, **EXACT)


@pytest.mark.parametrize("options", [{"solver": "dense"}, CG], ids=["dense", "cg"])
@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("loss", small.LOSSES)
def test_exact_solvers_give_the_explicit_influence(loss, layers, options):
    train, test = small.make_examples(11, 1, loss), small.make_examples(5, 2, loss)
    tracin = small.make_tracin(loss=loss)
    expected = small.explicit_influence(tracin.model, train, test, loss, layers)
    method = small.attribute(tracin, layers=layers, **options)
    actual = method.influence(train, test)
    torch.testing.assert_close(actual, expected, rtol=1e-7, atol=1e-9)
    itself = small.explicit_influence(tracin.model, train, train, loss, layers).diagonal()
    scores = method.scores(train)["influence_on_itself"]
    torch.testing.assert_close(scores, itself, rtol=1e-7, atol=1e-9)
    assert method.report["residual"] < 1e-9


def test_targets_that_are_probabilities_count_with_their_sum():
    inputs = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shares = torch.rand(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    train = TensorDataset(inputs, shares / shares.sum(1, keepdim=True))
    tracin = small.make_tracin()
    expected = small.explicit_influence(tracin.model, train, train, "cross_entropy")
    actual = small.attribute(tracin).influence(train, train)
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-10)


def test_the_hessian_is_not_that_of_constant_gradients():
    # The engine's own cross-entropy has a gradient without a derivative: H would be 0 for it.
    model = nn.Linear(3, 3).double()
    train = small.make_examples(7, 1)
    tracin = small.make_tracin(model)
    curvature = NetworkCurvature(tracin, ["weight", "bias"], train, "hessian")
    assert float(curvature.multiply(torch.eye(12, dtype=torch.float64)).trace()) > 0.1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"solver": "arnoldi", "iterations": 40, "rank": 40}, 1e-9),
        ({"solver": "arnoldi", "iterations": 12, "rank": 6}, 0.3),
        ({"solver": "lissa", "depth": 60, "samples": 10}, 0.15),
        ({"solver": "sketch", "dim": 800, "iterations": 60, "minibatches": False}, 0.2),
        ({"solver": "sketch", "dim": 800, "iterations": 120}, 0.3),
    ],
    ids=["arnoldi all", "arnoldi few", "lissa", "sketch whole", "sketch minibatches"],
)
def test_other_solvers_come_near_it(options, error):
    train, test = small.make_examples(40, 1), small.make_examples(6, 2)
    tracin = small.make_tracin(batch_size=20)
    expected = small.explicit_influence(tracin.model, train, test, "cross_entropy", damping=FAST)
    method = small.attribute(tracin, damping=FAST, **options)
    actual = method.influence(train, test)
    assert float((actual - expected).norm() / expected.norm()) < error
    json.dumps(method.report)


def test_arnoldi_on_all_its_space_forgets_only_what_has_no_curvature():
    # Gradients of train examples lie where the Gauss-Newton matrix acts, so nothing is lost.
    train = small.make_examples(30, 1)
    tracin = small.make_tracin()
    expected = small.explicit_influence(tracin.model, train, train, "cross_entropy", "all")
    method = small.attribute(tracin, solver="arnoldi", layers="all", rank=60, iterations=60)
    torch.testing.assert_close(method.influence(train, train), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["linear", "convolutional"])
def test_ekfac_is_what_its_definition_says(kind):
    images = kind == "convolutional"
    model = small.make_images() if images else small.make_model()
    train = small.make_examples(13, 1, shape=(1, 4, 4) if images else (3,))
    names = small.name_parameters(model, "all")
    inverse = small.explicit_ekfac(model, train, 0.01)
    rows = small.gradients(model, train, "cross_entropy", names)
    tracin = small.make_tracin(model, batch_size=5)
    method = small.attribute(tracin, solver="ekfac", layers="all", samples=0)
    torch.testing.assert_close(
        method.influence(train, train), rows @ inverse @ rows.T / 13, rtol=1e-8, atol=1e-10
    )


def test_the_automatic_solver_takes_ekfac_for_self_scores_alone(monkeypatch):
    monkeypatch.setattr("tracin_core.curvature.influence.MAX_DENSE", 10)
    train, test = small.make_examples(13, 1), small.make_examples(4, 2)
    tracin = small.make_tracin()
    options = {"layers": "all", "samples": 0, "tolerance": 1e-12}
    method = small.attribute(tracin, **options)
    expected = small.explicit_influence(tracin.model, train, test, "cross_entropy", "all")
    torch.testing.assert_close(method.influence(train, test), expected, rtol=1e-7, atol=1e-9)
    assert method.report["solver"] == "ekfac"
    assert method.report["between examples"]["residual"] < 1e-9
    json.dumps(method.report)
    ekfac = small.attribute(tracin, **options, solver="ekfac")
    assert torch.equal(*(m.scores(train)["influence_on_itself"] for m in (method, ekfac)))
    # What divides by a system of each train example stays with the solver that affords them.
    divided = [
        small.attribute(tracin, **options, solver=solver, relatif="theta").influence(train, test)
        for solver in ("auto", "ekfac")
    ]
    assert torch.equal(*divided)


@pytest.mark.parametrize("loss", small.LOSSES)
def test_ekfac_is_exact_where_the_curvature_is_one_product(loss):
    # All inputs alike: the last layer's matrix is a Kronecker product.
    train = small.make_examples(6, 1, loss)
    train = TensorDataset(train.tensors[0][:1].expand(6, 3), train.tensors[1])
    tracin = small.make_tracin(loss=loss)
    expected = small.explicit_influence(tracin.model, train, train, loss)
    method = small.attribute(tracin, solver="ekfac", samples=0)
    torch.testing.assert_close(method.influence(train, train), expected, rtol=1e-7, atol=1e-9)
    drawn = small.attribute(tracin, solver="ekfac", samples=400).influence(train, train)
    assert float((drawn - expected).norm() / expected.norm()) < 0.2


def test_ekfac_reads_convolutions_that_are_followed_by_a_change_in_place():
    train = small.make_examples(20, 1, shape=(1, 4, 4))
    model = small.make_images()
    tracin = small.make_tracin(model)
    expected = small.explicit_influence(model, train, train, "cross_entropy", "all", damping=FAST)
    method = small.attribute(tracin, solver="ekfac", layers="all", samples=0, damping=FAST)
    actual = method.influence(train, train)
    assert float(torch.corrcoef(torch.stack([actual.flatten(), expected.flatten()]))[0, 1]) > 0.95
    # The trace is kept exactly: eigenvalues are the mean squares in an orthonormal basis.
    names = small.name_parameters(model, "all")
    matrix = small.explicit_curvature(model, train, "cross_entropy", names, "gauss_newton")
    inverse = method._fitted.inverse
    assert inverse.mean_eigenvalue == pytest.approx(float(matrix.trace() / len(matrix)), rel=1e-9)


@pytest.mark.parametrize("solver", ["dense", "arnoldi", "ekfac"])
def test_vectors_have_influences_as_dot_products(solver):
    train, test = small.make_examples(12, 1), small.make_examples(4, 2)
    method = small.attribute(small.make_tracin(), solver=solver, layers="all", rank=20)
    method.fit(train)
    left, right = method.vectors(train), method.vectors(test)
    torch.testing.assert_close(left @ right.T, method.influence(train, test), **EXACT)
    short = method.vectors(train, Projection(dim=16))
    assert short.shape == (12, 16)
    torch.testing.assert_close(short, project_rows(left, Projection(dim=16)), **SINGLE)


@pytest.mark.parametrize("relatif", ["theta", "loss"])
def test_relatif_divides_each_train_example_by_its_own_step(relatif):
    train, test = small.make_examples(12, 1), small.make_examples(4, 2)
    tracin = small.make_tracin()
    names = small.name_parameters(tracin.model, "last")
    matrix = small.explicit_curvature(tracin.model, train, "cross_entropy", names, "hessian")
    matrix += 0.01 * torch.eye(len(matrix), dtype=torch.float64)
    rows = small.gradients(tracin.model, train, "cross_entropy", names)
    steps = torch.linalg.solve(matrix, rows.T) / 12
    norms = steps.norm(dim=0) if relatif == "theta" else (rows.T * steps).sum(0).sqrt()
    expected = small.explicit_influence(tracin.model, train, test, "cross_entropy")
    actual = small.attribute(tracin, relatif=relatif).influence(train, test)
    torch.testing.assert_close(actual, expected / norms[:, None], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("options", [{"solver": "dense"}, CG, {"solver": "ekfac"}])
def test_batches_change_nothing(options):
    train, test = small.make_examples(12, 1), small.make_examples(4, 2)
    found = [
        small.attribute(small.make_tracin(batch_size=size), samples=0, **options).influence(
            train, test
        )
        for size in (3, 12)
    ]
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-10)


@settings(max_examples=8, deadline=None)
@given(
    solver=st.sampled_from(["dense", "cg", "lissa", "arnoldi", "sketch", "ekfac"]),
    factor=st.floats(-3, 3),
    seed=st.integers(0, 99),
)
def test_every_inverse_is_linear_and_all_but_the_sketch_symmetric(solver, factor, seed):
    options = {"depth": 30, "dim": 64, "iterations": 30, "tolerance": 1e-12}
    method = small.attribute(
        small.make_tracin(batch_size=4), solver=solver, damping=FAST, **options
    )
    method.fit(small.make_examples(8, 1))
    inverse = method._fitted.inverse
    draw = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, 15, 1, generator=draw, dtype=torch.float64)
    together = inverse.apply(one + factor * other)
    torch.testing.assert_close(
        together, inverse.apply(one) + factor * inverse.apply(other), rtol=1e-6, atol=1e-8
    )
    if solver in ("dense", "cg", "arnoldi", "ekfac"):
        torch.testing.assert_close(
            inverse.pair(one, other), inverse.pair(other, one), rtol=1e-6, atol=1e-8
        )
        assert float(inverse.pair_with_itself(one)) >= 0


def test_a_network_in_single_precision_is_computed_in_double():
    train, test = small.make_examples(11, 1), small.make_examples(5, 2)
    expected = small.explicit_influence(small.make_model(), train, test, "cross_entropy", "all")
    single = [TensorDataset(part.tensors[0].float(), part.tensors[1]) for part in (train, test)]
    tracin = small.make_tracin(small.make_model().float())
    actual = small.attribute(tracin, layers="all").influence(*single)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    assert tracin.model[0].weight.dtype == torch.float32


def test_an_automatic_damping_is_a_tenth_of_the_mean_eigenvalue():
    train = small.make_examples(11, 1)
    tracin = small.make_tracin()
    names = small.name_parameters(tracin.model, "last")
    matrix = small.explicit_curvature(tracin.model, train, "cross_entropy", names, "hessian")
    method = small.attribute(tracin, damping="auto")
    method.fit(train)
    assert method.report["damping"] == pytest.approx(0.1 * float(matrix.trace()) / 15)


REFUSED = {
    "unknown": ({"solver": "magic"}, "expected one of auto, dense"),
    "no such option": ({"power": 2}, "the option 'power'"),
    "damping": ({"damping": 0.0}, "a number above 0"),
    "negative": ({"solver": "dense", "curvature": "hessian", "layers": "all"}, "no minimum"),
    "cg negative": ({"solver": "cg", "curvature": "hessian", "layers": "all"}, "no minimum"),
    "diverges": ({"solver": "lissa", "scale": 0.01, "depth": 500}, "Choose a larger scale"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_the_way_out(case):
    options, message = REFUSED[case]
    model = small.make_model()
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(5)  # far from any minimum
    train = small.make_examples(11, 1)
    with pytest.raises(TracInError, match=message):
        small.attribute(small.make_tracin(model), **options).influence(train, train)


def test_a_matrix_that_is_too_large_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(dense, "MAX_DENSE", 10)
    train = small.make_examples(11, 1)
    with pytest.raises(ConfigurationError, match=r"15 parameters .* at most 10"):
        small.attribute(small.make_tracin(), solver="dense").fit(train)


def test_vectors_that_do_not_exist_are_refused():
    method = small.attribute(small.make_tracin(), solver="cg")
    train = small.make_examples(11, 1)
    with pytest.raises(ConfigurationError, match="no train set yet"):
        method.vectors(train)
    method.fit(train)
    with pytest.raises(ConfigurationError, match="have no vectors"):
        method.vectors(train)


def test_few_steps_of_conjugate_gradients_are_said():
    train = small.make_examples(11, 1)
    method = small.attribute(small.make_tracin(), solver="cg", iterations=2, damping=1e-4)
    with pytest.warns(RuntimeWarning, match="stopped after 2 steps"):
        method.influence(train, train)
