"""Random projection of gradients from P to D numbers; this module itself is read without torch."""

from __future__ import annotations

# Numbers of an example over all checkpoints: 32 KB in single precision. Longer ones are projected.
EXACT_LAST_NUMBERS = 8192
