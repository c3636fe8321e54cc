"""All networks whose cost is measured; those of timm and peft where they are installed."""

from __future__ import annotations

from benchmarks.costs import images, recurrent, texts, vision
from benchmarks.costs.subject import NETWORKS

MODULES = (recurrent, images, texts, vision)

__all__ = ["MODULES", "NETWORKS"]
