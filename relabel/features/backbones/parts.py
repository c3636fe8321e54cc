"""Examples computed in parts, one thread for each part. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from relabel.features.records import Content


def compute_in_parts(
    contents: Sequence[Content], at_once: int, compute: Callable[[Sequence[Content]], Tensor]
) -> npt.NDArray[np.float32]:
    """Return the features of some examples, computed some at a time on all threads of torch.

    Each thread works on a part of its own: threads that share every layer's work wait for one
    another, which on a busy machine made a picture 40 times slower. So the bits do not depend on
    the number of threads either.

    Args:
        contents: The examples, at least one.
        at_once: Examples of a part.
        compute: From a part to features, shape ``(B, D)``.

    Returns:
        Shape ``(N, D)``, in the order of the examples.
    """
    parts = [contents[start : start + at_once] for start in range(0, len(contents), at_once)]
    threads = torch.get_num_threads()

    def compute_alone(part: Sequence[Content]) -> npt.NDArray[np.float32]:
        torch.set_num_threads(1)  # what OpenMP does is a setting of each thread
        with torch.inference_mode():
            found: npt.NDArray[np.float32] = compute(part).float().numpy()
        return found

    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(min(threads, len(parts))) as pool:
            return np.concatenate(list(pool.map(compute_alone, parts)))
    finally:
        torch.set_num_threads(threads)
