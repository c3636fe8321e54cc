"""How many examples fit the memory at a time, learned where it runs out."""

from __future__ import annotations

import warnings

import torch

from tracin_core.errors import GradientError

# What torch says where it has no exception of its own for it: Apple's MPS, and the processor.
SYMPTOMS = ("out of memory", "can't allocate memory")


class TooManyExamplesError(RuntimeError):
    """More examples in a pass than whole gradients of them would fit."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means that fewer examples at a time may succeed."""
    if isinstance(error, torch.OutOfMemoryError | TooManyExamplesError):
        return True
    return any(symptom in str(error) for symptom in SYMPTOMS)


class Room:
    """The largest number of examples that may go through a pass; no limit until memory runs out.

    Attributes:
        most: The limit; ``None`` where there is none.
    """

    def __init__(self) -> None:
        self.most: int | None = None

    def fit(self, size: int) -> int:
        """Return as many of ``size`` examples as may go through a pass."""
        return size if self.most is None else min(size, self.most)

    def halve(self, size: int, device: torch.device, error: RuntimeError) -> None:
        """Go on with half of what did not fit; warns the first time that memory ran out.

        Args:
            size: Examples in the pass that ran out of memory.
            device: Where it ran out.
            error: What was said of it.

        Raises:
            GradientError: If it was a single example.
        """
        if size == 1:
            raise GradientError(
                f"One example alone does not fit the memory of {device}; expected room for at "
                "least one at a time. Choose fewer `layers`, make inputs smaller, free memory "
                "that other programs hold, or compute on another device, such as device='cpu'."
            )
        if self.most is None and not isinstance(error, TooManyExamplesError):
            warnings.warn(
                f"Out of memory on {device} with {size} examples at a time; going on with "
                f"{size // 2}, and fewer where that is too many. The scores are the same. Pass "
                "a smaller batch_size to do without the failed attempt.",
                RuntimeWarning,
                stacklevel=2,
            )
        self.most = size // 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
        elif device.type == "mps":
            torch.mps.empty_cache()
