"""A digest of every example on disk, by which a later run tells what has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracin_core.array_headers import HEADER_ERRORS
from tracin_core.files import atomic_file

# 128 bits: two different examples among a billion agree with odds below 1e-20.
DIGEST_BYTES = 16
# An image's bytes, a text, or a table's row by column.
Content = bytes | str | Mapping[str, float | str | None]
Digests = npt.NDArray[np.uint8]


def digest_example(target: float, content: Content) -> bytes:
    """Return 16 bytes that stand for an example's target (label or number) and content."""
    head = f"{type(content).__name__} {target}\n".encode()
    return hashlib.blake2b(head + _as_bytes(content), digest_size=DIGEST_BYTES).digest()


def digest_content(content: Content) -> bytes:
    """Return 16 bytes that stand for an example's content alone."""
    return hashlib.blake2b(_as_bytes(content), digest_size=DIGEST_BYTES).digest()


def _as_bytes(content: Content) -> bytes:
    if isinstance(content, bytes):
        return content
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def stack_digests(digests: Iterable[bytes]) -> Digests:
    """Return digests as an array, shape ``(N, 16)``."""
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def write_digests(path: Path, digests: Digests) -> None:
    """Write the digests of a split by position, shape ``(N, 16)``."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(digests, dtype=np.uint8), allow_pickle=False)


def read_digests(path: Path, num_examples: int) -> Digests | None:
    """Read the digests of a split; None where there are none to rely on."""
    try:
        digests: Digests = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError, *HEADER_ERRORS):
        return None
    sound = digests.shape == (num_examples, DIGEST_BYTES) and digests.dtype == np.uint8
    return digests if sound else None
