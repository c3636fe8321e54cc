"""A run on a cluster of two processes, of which one is killed; in a program of its own.

What a cluster's library warns of, and the threads that it leaves behind, stay there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.tracin_core.scale.works import DiesAt
from tracin_core.scale import map_shards

if __name__ == "__main__":
    engine, folder = sys.argv[1], Path(sys.argv[2])
    shards = [range(start, start + 3) for start in range(0, 30, 3)]
    for one in map_shards(DiesAt(12, folder), shards, engine, workers=2):
        (folder / f"sums-{one.index}").write_bytes(one.result["sums"].tobytes())
