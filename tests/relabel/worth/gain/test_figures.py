"""The paired differences and their intervals, against the slow and obvious."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from relabel.worth.gain.figures import Interval, Judged, judge_predictions, measure_share
from relabel.worth.gain.labels import Labels


def labels(targets) -> Labels:
    targets = np.asarray(targets)
    return Labels(targets, np.ones(len(targets), dtype=bool))


def predictions(seeds=5, rows=200, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, rows)
    said = []
    for _ in range(seeds):
        each = np.tile(truth, (3, 1))
        for arm, wrong in enumerate((0.3, 0.1, 0.25)):
            flipped = generator.random(rows) < wrong
            each[arm, flipped] = (truth[flipped] + 1) % classes
        said.append(each)
    return said, truth


def test_accuracies_and_differences_are_those_counted_one_by_one():
    said, truth = predictions()
    judged = judge_predictions(said, labels(truth), by="given", num_classes=3, seed=0)
    for arm, name in enumerate(("given", "corrected", "control")):
        by_hand = [sum(a == b for a, b in zip(one[arm], truth, strict=True)) / 200 for one in said]
        assert judged.arms[name] == pytest.approx(by_hand)
    change = judged.difference("given", "corrected")
    paired = np.array(judged.arms["corrected"]) - np.array(judged.arms["given"])
    assert change.mean == pytest.approx(paired.mean())
    assert change.seeds == pytest.approx(
        stats.t.interval(0.95, 4, loc=paired.mean(), scale=stats.sem(paired))
    )
    assert change.is_certain
    assert change.low > 0.1
    for one in judged.classes:
        of_class = truth == one.label
        assert one.rows == of_class.sum()
        assert one.given == pytest.approx(np.mean([(s[0] == truth)[of_class] for s in said]))


def test_resampling_by_counts_is_resampling_the_rows():
    said, truth = predictions(rows=300)
    right = (np.stack(said) == truth).astype(float)
    differences = right[:, 1] - right[:, 0]
    by_row = differences.mean(axis=0)
    generator = np.random.default_rng(1)
    means = [by_row[generator.integers(0, 300, 300)].mean() for _ in range(4_000)]
    low, high = np.quantile(means, [0.025, 0.975])
    found = measure_share(differences, 0)
    assert found.rows == pytest.approx((low, high), abs=0.006)
    assert found.low <= min(found.rows[0], found.seeds[0])
    assert found.high >= max(found.rows[1], found.seeds[1])


def test_the_interval_covers_a_known_difference():
    # 200 worlds: rows are drawn, and so are trainings; the true difference is 0.2 in every one.
    covered = 0
    for world in range(200):
        said, truth = predictions(rows=120, seed=world)
        judged = judge_predictions(said, labels(truth), by="given", num_classes=3, seed=world)
        change = judged.difference("given", "corrected")
        covered += change.low <= 0.2 <= change.high
    assert covered >= 186  # rather too wide than too narrow


@given(seed=st.integers(0, 1000), classes=st.integers(2, 4))
def test_without_a_change_every_difference_is_exactly_zero(seed, classes):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, 30)
    said = [np.tile(generator.integers(0, classes, 30), (3, 1)) for _ in range(3)]
    judged = judge_predictions(said, labels(truth), by="given", num_classes=classes, seed=seed)
    for change in judged.differences.values():
        assert change == Interval(0.0, 0.0, 0.0, (0.0, 0.0), (0.0, 0.0))


def test_explained_variance_is_that_of_the_definition():
    generator = np.random.default_rng(0)
    truth = generator.normal(5, 2, 80)
    said = [truth + generator.normal(0, [[1.0], [0.5], [0.9]], (3, 80)) for _ in range(4)]
    judged = judge_predictions(said, labels(truth), by="given", num_classes=0, seed=0)
    for arm, name in enumerate(("given", "corrected", "control")):
        by_hand = [1 - ((s[arm] - truth) ** 2).sum() / (truth.var() * 80) for s in said]
        assert judged.arms[name] == pytest.approx(by_hand)
    change = judged.difference("given", "corrected")
    assert change.mean == pytest.approx(judged.mean("corrected") - judged.mean("given"))
    assert change.rows[0] <= change.mean <= change.rows[1]


def test_excluded_test_examples_do_not_judge():
    said, truth = predictions(rows=50)
    kept = np.arange(50) < 40
    judged = judge_predictions(said, Labels(truth, kept), by="current", num_classes=3, seed=0)
    alone = judge_predictions(
        [one[:, :40] for one in said], labels(truth[:40]), by="current", num_classes=3, seed=0
    )
    assert judged == alone
    assert judged.rows == 40


def test_what_is_saved_loads_back_equal():
    said, truth = predictions()
    judged = judge_predictions(said, labels(truth), by="given", num_classes=3, seed=0)
    assert Judged.from_json(json.loads(json.dumps(judged.to_json()))) == judged
