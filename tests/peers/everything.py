"""All families of all peers."""

from __future__ import annotations

from tests.peers import captum, dattri, kronfluence
from tests.peers.families import CASES, FAMILIES

__all__ = ["CASES", "FAMILIES", "captum", "dattri", "kronfluence"]
