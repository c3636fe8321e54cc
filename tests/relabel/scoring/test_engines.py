"""A scoring that other processes compute, or that is gone on with elsewhere, has the same bits."""

from __future__ import annotations

import pytest

from relabel.scoring.engine import EngineChoice
from relabel.scoring.run import assist_run
from tests.relabel.scoring.small_runs import (
    SHARD,
    make_network,
    make_sources,
    read_arrays,
    score,
)
from tests.relabel.scoring.test_sharding import Killed, assert_bit_equal
from tracin_core.errors import ConfigurationError

RANKS = EngineChoice(name="ranks")


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """A run scored in one process; read only."""
    return score(tmp_path_factory.mktemp("serial"))


def die_after(shards: int):
    def die(report):
        if report.done >= shards * SHARD * 3:
            raise Killed

    return die


def test_a_pool_goes_on_with_what_one_process_began_and_ends_with_the_same_bits(serial, tmp_path):
    with pytest.raises(Killed):
        score(tmp_path, on_progress=die_after(4))
    reports = []
    pooled = score(
        tmp_path,
        engine=EngineChoice(name="pool", workers=1),
        on_progress=reports.append,
    )
    assert_bit_equal(read_arrays(pooled.folder), read_arrays(serial.folder))
    assert pooled.num_computed == serial.num_computed
    assert reports[0].done >= 3 * SHARD * 3
    assert "of 6 shards, 1 worker" in reports[0].detail


def assist(root, patience=5.0) -> None:
    network = make_network(root / "training")
    assist_run(
        root / "runs",
        network,
        make_sources(network),
        data_hash="1500 texts, relabelled ()",
        base=None,
        engine=RANKS,
        shard_examples=SHARD,
        patience=patience,
    )


def test_ranks_make_one_run_and_the_first_one_goes_on_with_the_others_parts(
    serial, tmp_path, monkeypatch
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ConfigurationError, match="first rank has not begun"):
        assist(tmp_path, patience=0.1)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(Killed):
        score(tmp_path, engine=RANKS, on_progress=die_after(3))  # its half of the train examples
    monkeypatch.setenv("RANK", "1")
    assist(tmp_path)
    (parts,) = tmp_path.glob("runs/.*.unfinished/shards/parts-train")
    assert len(list(parts.iterdir())) == 3
    monkeypatch.setenv("RANK", "0")
    run = score(tmp_path, engine=RANKS)
    assert_bit_equal(read_arrays(run.folder), read_arrays(serial.folder))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.folder.root.name]
    monkeypatch.setenv("RANK", "1")
    assist(tmp_path)  # one that comes too late has nothing to do
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.folder.root.name]
