from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.features.encoding import encoder_from_json, fit_encoder
from relabel.features.table import LARGEST_DEVIATION, MAX_VALUES
from tracin_core.errors import ConfigurationError, InputError

COLUMNS = [{"name": "age", "kind": "number"}, {"name": "place", "kind": "category"}]
ROWS = [
    {"age": 10.0, "place": "sea"},
    {"age": 20.0, "place": "sea"},
    {"age": None, "place": "hill"},
    {"age": 30.0, "place": None},
]


def fit(rows=ROWS, columns=COLUMNS):
    return fit_encoder("table", rows, columns=columns)


def test_numbers_are_standardised_and_categories_have_an_input_each():
    encoder = fit()
    std = math.sqrt(200 / 3)
    assert encoder.num_inputs == 2 + 3
    encoded = np.stack([encoder.encode(row).numpy() for row in ROWS])
    expected = [
        [-10 / std, 0, 1, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 1, 0, 1, 0],
        [10 / std, 0, 0, 0, 1],
    ]
    np.testing.assert_allclose(encoded, np.array(expected, dtype=np.float32), rtol=1e-6)


def test_a_value_that_no_train_row_had_is_another_one():
    encoded = fit().encode({"age": 20.0, "place": "moon"})
    assert encoded.tolist() == [0, 0, 0, 0, 1]
    assert fit().encode({}).tolist() == [0, 1, 0, 0, 1]


def test_of_many_values_the_frequent_ones_have_an_input_of_their_own():
    rows = [{"place": f"p{number}"} for number in range(200) for _ in range(1 + (number < 3))]
    encoder = fit(rows, COLUMNS[1:])
    assert encoder.num_inputs == MAX_VALUES + 1
    assert encoder.columns[0].values[:3] == ("p0", "p1", "p2")


def test_a_slipped_decimal_point_does_not_drown_the_rest():
    rows = [{"age": float(number % 7)} for number in range(1000)]
    encoder = fit(rows, COLUMNS[:1])
    assert encoder.encode({"age": 1e12}).tolist() == [LARGEST_DEVIATION]
    assert encoder.encode({"age": -1e300}).tolist() == [-LARGEST_DEVIATION]


@pytest.mark.parametrize("value", [0.0, 5.0, -1e15, 1e-200])
def test_a_column_that_never_varies_is_no_division_by_zero(value):
    encoder = fit([{"age": value}] * 5, COLUMNS[:1])
    assert encoder.encode({"age": value}).tolist() == [0.0]


def test_a_column_without_any_number_is_all_missing():
    encoder = fit([{"age": None}, {"age": float("nan")}], COLUMNS[:1])
    assert encoder.encode({"age": None}).tolist() == [0.0, 1.0]
    assert encoder.encode({"age": 2.0}).tolist() == [2.0, 0.0]


def test_a_text_among_the_numbers_is_named():
    with pytest.raises(InputError, match=r"'age' holds 'ten', expected a number"):
        fit([{"age": "ten", "place": "sea"}])


def test_a_table_without_columns_is_refused():
    with pytest.raises(ConfigurationError, match="without columns"):
        fit(ROWS, [])


def test_whole_numbers_as_categories_are_the_same_with_and_without_a_point():
    encoder = fit([{"place": 3.0}, {"place": "3"}, {"place": 3}], COLUMNS[1:])
    assert encoder.columns[0].values == ("3",)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "age": st.none() | st.floats(-1e6, 1e6),
                "place": st.none() | st.text(max_size=3),
            }
        ),
        min_size=1,
        max_size=30,
    )
)
def test_mean_and_deviation_are_those_of_the_whole_column_and_survive_json(rows):
    encoder = fit(rows)
    numbers = [row["age"] for row in rows if row["age"] is not None]
    if numbers:
        assert encoder.columns[0].mean == pytest.approx(np.mean(numbers), abs=1e-6, rel=1e-9)
    assert encoder_from_json(json.loads(json.dumps(encoder.to_json()))) == encoder
    for row in rows:
        assert np.isfinite(encoder.encode(row).numpy()).all()


def test_chunks_of_rows_have_the_deviation_of_all():
    rng = np.random.default_rng(0)
    values = rng.lognormal(0, 2, 10_000)
    (column,) = fit([{"age": value} for value in values], COLUMNS[:1]).columns
    assert column.mean == pytest.approx(values.mean())
    assert column.std == pytest.approx(values.std())


def lognormal_rows(spread=1.5, count=1000):
    draw = np.random.default_rng(0)
    return [{"age": value} for value in draw.lognormal(3, spread, count)]


def test_a_heavy_tailed_column_keeps_its_crowd_apart_and_its_tail_in_bounds():
    encoder = fit(lognormal_rows(), COLUMNS[:1])
    inputs = np.array([encoder.encode(row).item() for row in lognormal_rows()])
    assert np.median(inputs) == pytest.approx(0, abs=0.02)
    assert inputs.std() == pytest.approx(1, abs=0.05)
    assert encoder.encode({"age": 1e300}).tolist() == [2.5]
    assert encoder.encode({"age": -5.0}).tolist() == [-2.5]


def test_a_larger_number_is_never_a_smaller_input():
    encoder = fit(lognormal_rows(), COLUMNS[:1])
    inputs = [encoder.encode({"age": value}).item() for value in np.geomspace(1e-3, 1e6, 200)]
    assert inputs == sorted(inputs)


@pytest.mark.parametrize("shape", ["normal", "uniform", "exponential", "binomial"])
def test_columns_without_a_heavy_tail_are_standardised_as_ever(shape):
    draw = np.random.default_rng(0)
    shapes = {
        "normal": draw.normal(size=3000),
        "uniform": draw.uniform(size=3000),
        "exponential": draw.exponential(size=3000),
        "binomial": draw.binomial(1, 0.1, 3000),
    }
    (column,) = fit([{"age": float(value)} for value in shapes[shape]], COLUMNS[:1]).columns
    assert column.knots == ()


def test_one_slipped_decimal_point_among_the_train_rows_leaves_the_others_apart():
    rows = [{"age": float(number % 90)} for number in range(900)] + [{"age": 1e12}]
    encoder = fit(rows, COLUMNS[:1])
    young, old = (encoder.encode({"age": age}).item() for age in (10.0, 80.0))
    assert old - young > 2


def test_a_column_of_zeros_with_a_few_huge_numbers_is_told_apart():
    draw = np.random.default_rng(0)
    values = np.where(draw.random(2000) < 0.8, 0.0, draw.lognormal(5, 2, 2000))
    encoder = fit([{"age": value} for value in values], COLUMNS[:1])
    zero, some, many = (encoder.encode({"age": value}).item() for value in (0.0, 100.0, 5000.0))
    assert zero + 0.5 < some < many - 0.3
    assert len(set(encoder.columns[0].knots)) == len(encoder.columns[0].knots)


def test_knots_survive_json_and_chunks_of_any_size_give_the_same(monkeypatch):
    rows = lognormal_rows(count=12_000)
    encoder = fit(rows, COLUMNS[:1])
    assert encoder.columns[0].knots
    assert encoder_from_json(json.loads(json.dumps(encoder.to_json()))) == encoder
    monkeypatch.setattr("relabel.features.table.ROWS_MEASURED", 777)
    assert fit(rows, COLUMNS[:1]).columns[0].knots == encoder.columns[0].knots


def test_an_encoder_saved_before_there_were_knots_reads_the_same():
    saved = {
        "kind": "table",
        "columns": [
            {"name": "age", "mean": 20.0, "std": 5.0, "has_missing": True},
            {"name": "place", "values": ["sea"]},
        ],
    }
    encoder = encoder_from_json(saved)
    assert encoder.to_json() == saved
    assert encoder.encode({"age": 30.0, "place": "hill"}).tolist() == [2, 0, 0, 1]


@pytest.mark.parametrize("knots", [[1.0], [1.0, 1.0], [2.0, 1.0], [1.0, 2.0, 3.0]])
def test_damaged_knots_are_refused(knots):
    column = {"name": "age", "knots": knots, "scores": [0.0, 1.0][: len(knots)]}
    with pytest.raises(ConfigurationError, match="knots"):
        encoder_from_json({"kind": "table", "columns": [column]})
