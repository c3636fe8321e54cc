"""Stored scores are reused by the version of the numbers, not by what the program looks like."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from relabel.runs import scoring_version
from relabel.runs.config import ProjectionEntry
from relabel.scoring import estimate, spec
from relabel.scoring.spec import RunSpec, resolve_spec
from tests.relabel.scoring import golden, small_runs

# Digests of the settled making below as programs before the scoring version computed them.
SCORING_HASH = "a3745b246e916f7158853da550c1f37c07e7c7be907ed93a239b6656eca0b6a5"
RUN_HASH = "de49e773391d175276a7466176c0a9ffaa7e1a6092ea93b266fa286d896bb20e"


@pytest.fixture(scope="module")
def computed() -> dict[str, golden.Numbers]:
    return golden.compute_all()


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    folder = tmp_path_factory.mktemp("golden") / "training"
    return resolve_spec(*golden.make_network(folder, "word embedding"))


def test_numbers_change_only_with_the_scoring_version(computed):
    stored = golden.read_golden()
    differences = golden.find_differences(stored["numbers"], computed)
    assert not differences, (
        "\n".join(differences)
        + "\nIf these numbers are meant to change, raise SCORING_VERSION in "
        + f"relabel/runs/scoring_version.py and write them anew: {golden.COMMAND}"
    )
    assert stored["scoring_version"] == scoring_version.SCORING_VERSION, (
        f"The stored numbers are of another version; write them anew: {golden.COMMAND}"
    )


@pytest.mark.parametrize("network", ["small CNN", "MLP of a regression"])
@pytest.mark.parametrize("name", ["self_influence_last-train", "vectors-all-test", "loss-test"])
def test_one_number_that_changes_is_noticed(computed, network, name):
    changed = deepcopy(computed)
    changed[network][name][1][2] += 1e-3 * float(np.abs(changed[network][name]).max())
    (difference,) = golden.find_differences(computed, changed)
    assert difference.startswith(f"{network}, {name}: ")
    del changed[network][name]
    assert golden.find_differences(computed, changed) == [f"{network}: only one side has {name}"]


def test_another_way_to_compute_is_noticed(computed, monkeypatch):
    other = ProjectionEntry(dim=512, seed=1)
    monkeypatch.setattr(estimate, "PROJECTION", other)
    monkeypatch.setattr(spec, "PROJECTION", other)
    changed = "\n".join(golden.find_differences(computed, golden.compute_all()))
    assert "MLP, vectors-all-train" in changed
    assert "loss" not in changed


def test_changed_numbers_are_not_written_under_the_same_version(tmp_path, monkeypatch, computed):
    monkeypatch.setattr(golden, "PATH", tmp_path / "golden.json")
    monkeypatch.setattr(golden, "compute_all", lambda: computed)
    golden.write_golden()
    changed = deepcopy(computed)
    changed["MLP"]["loss-train"][0][0] *= 1.01
    monkeypatch.setattr(golden, "compute_all", lambda: changed)
    with pytest.raises(SystemExit, match="Raise SCORING_VERSION"):
        golden.write_golden()
    monkeypatch.setattr(scoring_version, "SCORING_VERSION", 2)
    golden.write_golden()
    assert json.loads(golden.PATH.read_text())["scoring_version"] == 2


def test_runs_from_before_the_scoring_version_are_found_again(settled):
    checkpoints = tuple(replace(entry, sha256="0" * 64) for entry in settled.checkpoints)
    of_any_machine = replace(settled, checkpoints=checkpoints)
    assert of_any_machine.scoring_hash == SCORING_HASH
    assert of_any_machine.hash_with("data") == RUN_HASH


def test_another_scoring_version_is_another_run(settled, monkeypatch):
    monkeypatch.setattr(scoring_version, "SCORING_VERSION", 2)
    assert replace(settled, code=spec.mark_scoring_version()).scoring_hash != settled.scoring_hash
    assert scoring_version.describe_program().endswith(", scoring 2")


def test_a_run_of_another_scoring_version_is_computed_anew(tmp_path, monkeypatch):
    first = small_runs.score(tmp_path, train=20)
    monkeypatch.setattr(scoring_version, "SCORING_VERSION", 2)
    second = small_runs.score(tmp_path, train=20, base=first.folder)
    assert second.num_computed["train"] == 20
    assert second.folder.root != first.folder.root
