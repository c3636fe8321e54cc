"""A digest of every example on disk, by which a later run tells what has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracin_core.files import atomic_file

# 128 bits: two different examples among a billion agree with odds below 1e-20.
DIGEST_BYTES = 16
Digests = npt.NDArray[np.uint8]


def digest_example(label: int, content: bytes | str) -> bytes:
    """Return 16 bytes that stand for an example's label and content."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    head = f"{type(content).__name__} {label}\n".encode()
    return hashlib.blake2b(head + data, digest_size=DIGEST_BYTES).digest()


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
    except (OSError, EOFError, ValueError):
        return None
    sound = digests.shape == (num_examples, DIGEST_BYTES) and digests.dtype == np.uint8
    return digests if sound else None
