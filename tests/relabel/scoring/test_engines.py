"""A scoring that other processes compute, or that is gone on with elsewhere, has the same bits."""

from __future__ import annotations

import pytest

from relabel.scoring.engine import EngineChoice
from tests.relabel.scoring.small_runs import read_arrays, score
from tests.relabel.scoring.test_sharding import assert_bit_equal


class KilledError(BaseException):
    """Ends a scoring at a chosen moment."""


def test_a_pool_goes_on_with_what_one_process_began_and_ends_with_the_same_bits(tmp_path):
    serial = score(tmp_path / "serial")

    def die(report):
        if report.done > 3 * 256 * 3:
            raise KilledError

    with pytest.raises(KilledError):
        score(tmp_path / "pool", on_progress=die)
    reports = []
    pooled = score(
        tmp_path / "pool",
        engine=EngineChoice(name="pool", workers=2),
        on_progress=reports.append,
    )
    assert_bit_equal(read_arrays(pooled.folder), read_arrays(serial.folder))
    assert pooled.num_computed == serial.num_computed
    assert reports[0].done >= 3 * 256 * 3
    assert "of 6 shards, 2 workers" in reports[0].detail
