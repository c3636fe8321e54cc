"""What NumPy answers the header of an ``.npy`` file with that is not as it wrote it."""

from __future__ import annotations

from tokenize import TokenError

# Beside ValueError, EOFError and OSError. Headers are Python literals: NumPy parses them, and where
# that fails it splits them into tokens first, as Python 2 wrote them.
HEADER_ERRORS = (
    *(SyntaxError, TokenError, RecursionError, MemoryError, OverflowError),
    *(TypeError, AttributeError, KeyError, IndexError),
)
