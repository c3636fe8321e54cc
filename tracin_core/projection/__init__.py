"""How long a last layer's vector may be to be kept as it is; read without torch."""

from __future__ import annotations

# Numbers of an example over all checkpoints: 32 KB in single precision. Longer ones are projected.
EXACT_LAST_NUMBERS = 8192
