"""Decimal points that slipped, and numbers that are merely unusual."""

from __future__ import annotations

import math

import pytest

from relabel.triage.slips import Slip, find_slip


@pytest.mark.parametrize(
    ("given", "predicted", "slip"),
    [
        (2_500_000.0, 240_000.0, Slip(250_000.0, "÷10")),
        (25_000.0, 240_000.0, Slip(250_000.0, "×10")),
        (250.0, 240_000.0, Slip(250_000.0, "×1000")),
        (-30.0, -2.9, Slip(-3.0, "÷10")),
        (250_000.0, 240_000.0, None),
        (480_000.0, 240_000.0, None),  # twice is no slip
        (900_000.0, 240_000.0, None),  # a tenth of it is no better
        (5.0, 0.01, None),  # near zero everything divided comes near
        (30.0, -2.9, None),
        (0.0, 5.0, None),
        (5.0, 0.0, None),
        (None, 5.0, None),
        (5.0, None, None),
        (math.inf, 5.0, None),
        (1e308, 1e308, None),
    ],
)
def test_a_point_is_moved_where_that_meets_the_prediction(given, predicted, slip):
    assert find_slip(given, predicted) == slip
