"""Keep a share of the examples for testing, the same share of every class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracin_core.examples.held_out import choose_test_rows


def split_examples(
    labels: npt.NDArray[np.int32], *, share: float, seed: int, stratified: bool, both: bool
) -> npt.NDArray[np.int8]:
    """Return 1 for the examples to test with and 0 for the others.

    Args:
        labels: Class indices, shape ``(N,)``.
        share: Share for testing, between 0 and 1.
        seed: The same seed and examples give the same split.
        stratified: Whether to take the share of every class.
        both: Whether there must be at least one example of each split, and of every class one to
            train with.

    Returns:
        Codes, shape ``(N,)``.
    """
    groups = labels if stratified else np.zeros_like(labels)
    chosen = choose_test_rows(groups.astype(np.int64), share=share, seed=seed)
    codes = np.zeros(len(labels), dtype=np.int8)
    codes[chosen] = 1
    if both:
        codes[_first_of_untrained(groups, codes)] = 0
        if len(codes) > 1 and not codes.any():
            codes[np.random.default_rng(seed).integers(len(codes))] = 1
    return codes


def _first_of_untrained(
    groups: npt.NDArray[np.int32], codes: npt.NDArray[np.int8]
) -> npt.NDArray[np.intp]:
    """Return the first example of each group that is wholly for testing."""
    names, first = np.unique(groups, return_index=True)
    return first[~np.isin(names, groups[codes == 0])]
