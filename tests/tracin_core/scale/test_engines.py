"""Every engine gives what the serial one gives, whatever becomes of its workers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tracin_core.scale.works import DiesAt, Slow, add_up, refuse
from tracin_core.errors import ConfigurationError, InputError, ShardLostError
from tracin_core.scale import list_engines, map_shards

SHARDS = [range(start, start + 3) for start in range(0, 30, 3)]


def read(results) -> dict[int, bytes]:
    return {one.index: one.result["sums"].tobytes() for one in results}


@pytest.fixture(scope="module")
def serial():
    return read(map_shards(add_up, SHARDS))


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_the_serial_engine_is_the_default_and_leaves_out_what_is_finished():
    assert next(iter(list_engines())) == "serial"
    reports = []
    found = list(map_shards(add_up, SHARDS, finished={0, 3}, on_report=reports.append))
    assert [one.index for one in found] == [1, 2, *range(4, 10)]
    assert (reports[0].done, reports[-1].done, reports[-1].total) == (3, 10, 10)
    assert list(map_shards(add_up, SHARDS, "pool", finished=range(10))) == []


def test_a_pool_gives_the_same_bits_when_a_worker_is_killed(serial, tmp_path):
    reports, processes = [], set()
    results = list(
        map_shards(DiesAt(12, tmp_path), SHARDS, "pool", workers=2, on_report=reports.append)
    )
    processes = {int(one.result["process"]) for one in results}
    assert read(results) == serial
    assert os.getpid() not in processes
    assert reports[-1].lost == 1
    assert reports[-1].done == 10


def test_a_shard_that_is_lost_too_often_is_named(tmp_path):
    with pytest.raises(ShardLostError, match=r"Shard 5 of 10 was lost 2 times .*SIGKILL"):
        list(map_shards(DiesAt(12, tmp_path, 9), SHARDS, "pool", workers=1, retries=1))


def test_what_the_work_raises_is_raised_again_and_not_retried():
    with pytest.raises(InputError, match="Found the shard 0") as caught:
        list(map_shards(refuse, SHARDS, "pool", workers=1))
    assert "works.py" in caught.value.__notes__[0]


def test_closing_the_iterator_ends_the_workers_at_once(tmp_path):
    class StopError(Exception):
        pass

    def stop(report):
        if list(tmp_path.glob("worker-*")):
            raise StopError

    began = time.monotonic()
    with pytest.raises(StopError):
        list(map_shards(Slow(tmp_path), SHARDS, "pool", workers=1, on_report=stop))
    (path,) = tmp_path.glob("worker-*")
    assert not is_alive(int(path.name.removeprefix("worker-")))
    assert time.monotonic() - began < 50


def test_work_that_no_process_can_import_is_refused():
    with pytest.raises(ConfigurationError, match="cannot be pickled"):
        list(map_shards(lambda shard: shard, SHARDS, "pool"))


def test_options_that_cannot_work_are_refused():
    with pytest.raises(ConfigurationError, match="Found workers = 0"):
        map_shards(add_up, SHARDS, "pool", workers=0)
    with pytest.raises(ConfigurationError, match="no engine called 'poool'"):
        map_shards(add_up, SHARDS, "poool")


# Ranks


def as_rank(monkeypatch, rank: int, world: int = 2) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world))


def test_ranks_split_the_shards_and_the_first_one_gives_them_all(serial, tmp_path, monkeypatch):
    as_rank(monkeypatch, 1)
    assert list(map_shards(add_up, SHARDS, "ranks", folder=tmp_path)) == []
    assert len(list(tmp_path.iterdir())) == 5
    as_rank(monkeypatch, 0)
    found = list(map_shards(add_up, SHARDS, "ranks", folder=tmp_path))
    assert read(found) == serial
    assert list(tmp_path.iterdir()) == []


def test_the_first_rank_does_what_a_lost_one_has_not_done(serial, tmp_path, monkeypatch):
    as_rank(monkeypatch, 0)
    (tmp_path / "part-0000000001.npz").write_bytes(b"PK\x03\x04 cut off")
    found = list(map_shards(add_up, SHARDS, "ranks", folder=tmp_path, patience=0))
    assert read(found) == serial


def test_a_process_without_a_rank_is_told_how_to_get_one(tmp_path, monkeypatch):
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="torchrun"):
        list(map_shards(add_up, SHARDS, "ranks", folder=tmp_path))
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with pytest.raises(ConfigurationError, match="SLURM_PROCID='3'"):
        list(map_shards(add_up, SHARDS, "ranks", folder=tmp_path))


# Engines of others


@pytest.mark.parametrize(("engine", "library"), [("dask", "distributed"), ("ray", "ray")])
def test_an_engine_whose_library_is_missing_says_which_extra_to_install(
    monkeypatch, engine, library
):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigurationError, match=rf"tracin-relabel\[{engine}\]"):
        list(map_shards(add_up, SHARDS, engine))


@pytest.mark.parametrize(("engine", "library"), [("dask", "distributed"), ("ray", "ray")])
def test_a_cluster_gives_the_same_bits_when_a_worker_is_killed(serial, tmp_path, engine, library):
    pytest.importorskip(library, reason=f"pip install 'tracin-relabel[{engine}]' to run it")
    done = subprocess.run(
        [sys.executable, "-m", "tests.tracin_core.scale.clusters", engine, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "death-0").exists()
    found = tmp_path.glob("sums-*")
    assert {int(path.name[5:]): path.read_bytes() for path in found} == serial
