"""A person who goes on deciding while long work fills or empties the same database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.relabel.db.builders import Scene


def decide_meanwhile(scene: Scene, work: Callable[[], object], *, fewest: int) -> None:
    """Check that decisions get in between the transactions of some work.

    Args:
        scene: Where one decision follows the other.
        work: Done beside them.
        fewest: More than so many must get in.
    """
    worker = threading.Thread(target=work)
    begun = time.monotonic()
    worker.start()
    waits = []
    while worker.is_alive():
        started = time.monotonic()
        scene.decide(scene.by_rank(1))
        waits.append(time.monotonic() - started)
    worker.join()
    assert len(waits) > fewest
    # Less than the work takes, however busy the machine is.
    assert max(waits) < max(1.0, (time.monotonic() - begun) / 2)
