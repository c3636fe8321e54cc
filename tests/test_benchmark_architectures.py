"""The benchmark of published architectures has enough of them, and tells right from wrong."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from benchmarks.architectures import make_table
from benchmarks.published.everything import ARCHITECTURES
from benchmarks.published.measure import Result, judge, measure


def test_there_are_many_architectures_even_without_timm() -> None:
    assert len([name for name, (source, _) in ARCHITECTURES.items() if source != "timm"]) >= 60


@pytest.mark.parametrize(
    ("found", "ending"),
    [
        ({"error": 1e-12, "single": 1e-6, "inherent": 0.0}, "right"),
        ({"error": 1e-12, "single": 1e-2, "inherent": 1e-2}, "kinks"),
        ({"error": 1e-12, "single": 1e-2, "inherent": 1e-7}, "WRONG in float32"),
        ({"error": 1e-2, "single": 1e-2, "inherent": 1e-2}, "WRONG"),
        ({"error": float("nan"), "single": 0.0, "inherent": 0.0}, "WRONG"),
    ],
)
def test_rounding_is_told_from_faults(found: dict[str, float], ending: str) -> None:
    assert judge({**found, "double": True}) == ending


def test_an_architecture_is_measured() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = measure("LlamaForSequenceClassification")
    torch.set_num_threads(threads)
    assert found.ending == "right"
    assert (found.last, found.last_size) == ("score", 5 * 16)
    assert found.correlation == pytest.approx(1)
    assert found.error < 1e-9


def test_every_result_has_a_row() -> None:
    good = Result("a", "timm", 10, last="head", last_size=2, correlation=0.5)
    bad = replace(good, name="b", ending="refused", detail="Found | this. Expected that.")
    rows = make_table([good, bad]).splitlines()
    assert rows[0] == "2 architectures: 1 right, 1 refused."
    assert "| `head` | 2 | 0.500 |" in rows[-2]
    assert "refused: Found / this" in rows[-1]
