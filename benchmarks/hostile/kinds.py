"""All kinds of hostile networks, in the order in which the seeds go through them."""

from __future__ import annotations

from benchmarks.hostile import cached, orders, paths, ragged, recurrent, routed
from benchmarks.hostile.draw import KINDS

__all__ = ["KINDS", "cached", "orders", "paths", "ragged", "recurrent", "routed"]
