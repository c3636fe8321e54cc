"""The benchmark of a team, small: four reviewers, a hundred decisions, one killed server."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.team_review import Notes, calculate_by_hand, is_same, review_together
from relabel.workspace import resolve_workspace
from tests.preloaded import Preloaded


@pytest.mark.slow
def test_each_is_acknowledged_once_and_none_lies_before_two(
    preloaded: Preloaded, tmp_path: Path
) -> None:
    found = review_together(
        resolve_workspace(tmp_path / "work"),
        reviewers=4,
        decisions=100,
        kills=1,
        launch=preloaded.launch,
    )
    assert found["acknowledged"] == found["recorded"] == found["as shown"] >= 100
    for name in ("lost", "recorded, not acknowledged", "acknowledged twice", "decided twice"):
        assert found[name] == 0, found
    assert found["before two people at once"] == 0
    assert (found["refused"], found["kills"]) == (0, 1), found["why refused"]
    assert found["second opinions"] > 0
    assert found["agreement as by hand"]


def test_the_calculation_by_hand_is_one() -> None:
    notes = Notes()
    for number, (action, other) in enumerate([("keep", "keep"), ("exclude", "keep")]):
        notes.acknowledged[f"{number}"] = (number, action, "Ann", False)
        notes.acknowledged[f"{number}'"] = (number, other, "Bob", True)
    notes.acknowledged["alone"] = (5, "keep", "Ann", False)
    found = calculate_by_hand(notes, {0: 1, 1: 1, 5: 1})
    # Half the answers are the same; by chance (3/4)^2 + (1/4)^2, and 1/2 between the two people.
    assert found == {"all": pytest.approx(-1 / 3), ("Ann", "Bob"): 0.0}
    assert is_same(found, {"all": -1 / 3, ("Ann", "Bob"): 0.0})
    assert not is_same(found, {"all": -1 / 3})
