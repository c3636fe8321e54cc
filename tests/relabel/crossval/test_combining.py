"""Folds, weights, calibration and what is stored: by properties and against slow, plain forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.crossval.calibration import LEAST_TEST_EXAMPLES, PRIOR, calibrate
from relabel.crossval.combining import normalise, weigh
from relabel.crossval.folds import choose_folds, cut_folds, describe_small_classes
from relabel.errors import RunFolderError
from relabel.runs.held_out import (
    CandidateResult,
    HeldOutSummary,
    copy_held_out,
    open_held_out,
    open_neighbours,
    read_summary,
    write_held_out,
)
from relabel.triage.suspicion import combine_residuals, rank_within_classes, weigh_course

ERRORS = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(ERRORS)
def test_weights_add_up_and_the_best_has_the_largest(errors):
    weights = weigh(errors)
    assert weights.sum() == pytest.approx(1)
    assert weights[int(np.argmin(errors))] == weights.max() > 0
    for one, other in zip(errors, weights, strict=True):
        if abs(one - 1.25 * min(errors)) > 1e-8:  # at the very end rounding decides
            assert (other == 0) == (one > 1.25 * min(errors))


def test_a_weight_falls_in_a_straight_line():
    assert weigh([0.10, 0.1125, 0.2]).tolist() == pytest.approx([2 / 3, 1 / 3, 0])


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=80),
    st.integers(2, 10),
    st.integers(0, 2**20),
)
def test_every_class_is_dealt_out_evenly(labels, folds, seed):
    targets = np.array(labels)
    places = cut_folds(targets, np.ones(len(labels), dtype=bool), folds, seed)
    assert ((places >= 0) & (places < folds)).all()
    sizes = np.bincount(places, minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    for label in np.unique(targets):
        counts = np.bincount(places[targets == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    assert (places == cut_folds(targets, np.ones(len(labels), dtype=bool), folds, seed)).all()


def test_small_data_is_cut_more_often():
    assert [choose_folds(number) for number in (400, 10_000, 60_000)] == [(10, 3), (10, 2), (5, 1)]


def test_classes_with_few_examples_are_named():
    said = describe_small_classes(np.array([0] * 20 + [1] * 3 + [2]), ("a", "b", "c"), 10)
    assert len(said) == 2
    assert "'c' has a single example" in said[0]
    assert "'b' has fewer examples" in said[1]
    assert describe_small_classes(np.array([0, 0, 1, 1]), ("a", "b"), 2) == []


def find_calibration_slowly(logs, labels):
    """The minimum of the same loss by plain gradient descent in float64."""
    import torch

    rows, truth = torch.tensor(logs), torch.tensor(labels)
    values = torch.zeros(logs.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    for _ in range(4000):
        found = values[0].exp() * rows + values[1:]
        loss = torch.nn.functional.cross_entropy(found, truth, reduction="sum")
        loss = loss + PRIOR * values.square().sum()
        (gradient,) = torch.autograd.grad(loss, values)
        values = (values - 2e-3 * gradient).detach().requires_grad_()
    return values.detach().numpy()


def test_a_calibration_is_the_minimum_of_its_loss():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 120)
    logs = normalise(draw.normal(size=(120, 3)) + 2 * np.eye(3)[labels] + [1.0, 0.0, -0.5])
    found = calibrate(logs, labels)
    slow = find_calibration_slowly(logs, labels)
    assert found.scale == pytest.approx(np.exp(slow[0]), rel=1e-3)
    assert found.bias == pytest.approx(slow[1:], abs=2e-3)
    assert found.bias[0] < found.bias[2]  # the class that is named too often
    assert np.exp(found.apply(logs)).sum(axis=1) == pytest.approx(np.ones(120))


def test_labels_as_the_models_expect_them_leave_everything_as_it_is():
    draw = np.random.default_rng(1)
    logs = normalise(draw.normal(size=(3000, 4)))
    labels = np.array([draw.choice(4, p=p / p.sum()) for p in np.exp(logs)])
    found = calibrate(logs, labels)
    assert abs(found.bias).max() < 0.1
    assert found.scale == pytest.approx(1, abs=0.1)


def test_too_few_test_examples_calibrate_nothing():
    logs = normalise(np.zeros((LEAST_TEST_EXAMPLES - 1, 2)))
    assert calibrate(logs, np.zeros(len(logs), dtype=int)) is None


SUMMARY = HeldOutSummary(
    candidates=(
        CandidateResult(name="a", title="A", agreement=0.9, loss=0.3, seconds=1.0, weight=1.0),
    ),
    agreement=0.9,
    folds=5,
    repeats=1,
    num_examples=4,
    notes=("One.",),
)


@pytest.mark.parametrize("num_classes", [2, 3, 300])
def test_margins_are_those_of_the_probabilities(tmp_path, num_classes):
    draw = np.random.default_rng(num_classes)
    likely = draw.dirichlet(np.full(num_classes, 0.05), 4)
    given_labels = np.array([likely[0].argmax(), 1, 0, likely[3].argmin()])
    write_held_out(tmp_path, SUMMARY, likely, likely[::-1])
    held_out = open_held_out(tmp_path, 4, num_classes)
    margins, others = held_out.margins(given_labels), held_out.likeliest_others(given_labels)
    assert held_out.labels(given_labels).tolist() == likely.argmax(axis=1).tolist()
    for row, label in enumerate(given_labels.tolist()):
        rest = np.delete(likely[row], label)
        kept = likely[row, label] >= np.sort(likely[row])[-64:][0]
        expected = np.log(max(rest.max(), 1e-6)) - np.log(max(likely[row, label] * kept, 1e-6))
        assert margins[row] == pytest.approx(expected, abs=1e-4)
        assert likely[row, others[row]] == pytest.approx(rest.max())
        opinion = held_out.opinion(row, label)
        assert opinion.label == likely[row].argmax()
        assert opinion.probability == pytest.approx(likely[row].max(), rel=1e-5)
        assert opinion.runner_up_probability == pytest.approx(np.sort(likely[row])[-2], rel=1e-5)
    assert open_neighbours(tmp_path, held_out).margins(given_labels) == pytest.approx(
        held_out.__class__(SUMMARY, np.array(held_out.stored[::-1]), num_classes).margins(
            given_labels
        )
    )


def test_what_is_stored_can_be_copied_and_is_of_its_examples_alone(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    target.mkdir()
    assert copy_held_out(source, target) is None
    write_held_out(source, SUMMARY, np.array([1.0, 2.0, 3.0, 4.5]))
    assert copy_held_out(source, target) == SUMMARY == read_summary(target)
    assert open_held_out(target, 4, 0).values.tolist() == [1, 2, 3, 4.5]
    assert open_held_out(target, 5, 0) is None  # of a project that has grown


@pytest.mark.parametrize("name", ["held_out.json", "held_out.npy"])
def test_a_damaged_file_is_told(tmp_path, name):
    write_held_out(tmp_path, SUMMARY, np.full((4, 2), 0.5))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    with pytest.raises(RunFolderError, match="Train the project again"):
        open_held_out(tmp_path, 4, 2)


@pytest.mark.parametrize(
    ("seen", "unseen", "tested", "part"),
    [
        (0.20, 0.20, (0.1, 0.1), 0.5),  # as good, and nothing by heart
        (0.04, 0.20, (0.1, 0.1), 0.0),  # by heart
        (0.20, 0.20, (0.05, 0.1), 1.0),  # the network is far better
        (0.20, 0.20, (0.2, 0.1), 0.0),  # or far worse
        (0.10, 0.20, (0.1, 0.1), 1 / 3),  # half by heart
        (0.20, 0.20, None, 0.5),
        (0.40, 0.20, None, 0.0),
        (0.10, 0.0, None, 0.0),
    ],
)
def test_the_course_counts_by_what_the_network_is_worth(seen, unseen, tested, part):
    assert weigh_course(seen, unseen, tested) == pytest.approx(part)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5)), min_size=1, max_size=30, unique=True)
)
def test_places_within_a_class_are_in_order_and_end_at_one(pairs):
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs])
    places = rank_within_classes(scores, labels)
    for label in np.unique(labels):
        own = labels == label
        assert sorted(places[own]) == pytest.approx(np.arange(1, own.sum() + 1) / own.sum())
        assert (scores[own][np.argsort(places[own])] == np.sort(scores[own])).all()


def test_numbers_that_are_off_in_either_direction_are_suspect():
    from relabel.runs.signals import Signals

    nothing = np.zeros((1, 3), dtype=np.float32)
    signals = Signals(
        loss=nothing,
        margin=nothing,
        predicted=nothing.astype(np.int16),
        given_probability=nothing,
        residual=np.array([[1, -4, 0]], dtype=np.float32),
    )
    found = combine_residuals(signals, np.array([2.0, -7.0, 0.5]), 0.5)
    assert np.argsort(-found).tolist() == [1, 0, 2]
