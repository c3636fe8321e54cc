"""All families of all peers."""

from __future__ import annotations

from tests.tracin_core.peers import captum, dattri, kronfluence
from tests.tracin_core.peers.families import CASES, FAMILIES

__all__ = ["CASES", "FAMILIES", "captum", "dattri", "kronfluence"]
