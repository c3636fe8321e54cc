"""How far a chart of numbers reaches: over all of them, but for a few beyond all bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project
from relabel.db.stats import LARGEST, find_span, value_summary
from tests.relabel.db.builders import build_homes

USUAL = np.linspace(50_000.0, 500_000.0, 239)


@pytest.mark.parametrize("absurd", [[1e9], [-1e9], [1e300], [LARGEST, -LARGEST], [1e9] * 5])
def test_absurd_numbers_do_not_press_the_others_together(absurd):
    assert find_span(np.array([*USUAL, *absurd])) == (USUAL[0], USUAL[-1])


def test_a_heavy_tail_is_shown_whole():
    prices = np.random.default_rng(0).lognormal(12, 0.7, 2000)
    assert find_span(prices) == (prices.min(), prices.max())


@given(st.lists(st.floats(-LARGEST, LARGEST), max_size=40))
def test_the_span_ends_at_numbers_of_the_data_and_holds_the_middle_ones(values):
    low, high = find_span(np.array(values))
    if values:
        assert low in values
        assert high in values
        middle = np.quantile(values, [0.05, 0.95], method="inverted_cdf")
        assert low <= middle[0] <= middle[1] <= high


def test_what_lies_beyond_is_counted(engine):
    build_homes(engine, 1, 1)
    project = create_project(engine, slug="far", title="Far", kind="text", task="regression")
    values = [*USUAL, 1e9]
    examples = [NewExample(str(n), "train", n, given_value=one) for n, one in enumerate(values)]
    add_examples(engine, project.id, examples)
    found = value_summary(engine, project.id, bins=10)
    assert (found.beyond, found.edges[-1], found.given.maximum) == (1, USUAL[-1], 1e9)
    assert sum(found.given.histogram) == len(USUAL)
    assert min(found.given.histogram) > 20
