"""How many examples go through a network at a time.

As many as fit the memory, learned where it runs out; and several batches joined into one pass
where a single one would leave the processor or the GPU idle.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import nn

from tracin_core.capture.last_layer import ELEMENTWISE, Chain
from tracin_core.errors import GradientError
from tracin_core.gradients.plan import Plan

# What torch says where it has no exception of its own for it: Apple's MPS, and the processor.
SYMPTOMS = ("out of memory", "can't allocate memory")


class TooManyExamplesError(RuntimeError):
    """More examples in a pass than whole gradients of them would fit."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error means that fewer examples at a time may succeed."""
    if isinstance(error, torch.OutOfMemoryError | TooManyExamplesError):
        return True
    return any(symptom in str(error) for symptom in SYMPTOMS)


class AdaptiveBatchSize:
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
        """Halve the number of what did not fit; warns the first time that memory ran out.

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


# Numbers held at once where several batches are joined: 16 MB in single precision.
JOINED_NUMBERS = 4_000_000
# On a GPU: a sixteenth of its memory (with the gradients at the layers' outputs a pass then takes
# some three times as much), and 256 MiB of inputs.
DEVICE_SHARE, DEVICE_INPUTS = 16, 1 << 26
# Where a device does not tell its memory: 1 GiB.
UNKNOWN_NUMBERS = 1 << 28


@dataclass(frozen=True)
class Budget:
    """Numbers that a device holds at once where several batches are joined.

    Attributes:
        numbers: In a pass.
        inputs: In the inputs that are read for it.
    """

    numbers: int
    inputs: int


def choose_budget(device: torch.device) -> Budget:
    """Return what a device has room for without a thought."""
    if device.type == "cpu":
        return Budget(JOINED_NUMBERS, JOINED_NUMBERS)
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        return Budget(memory // DEVICE_SHARE // 4, DEVICE_INPUTS)
    return Budget(UNKNOWN_NUMBERS, DEVICE_INPUTS)


def count_chain_numbers(model: nn.Module, numbers_each: int) -> int | None:
    """Return how many numbers the layers of a plain chain of products hold for an example.

    Args:
        model: Any module.
        numbers_each: Numbers in the input of one example.

    Returns:
        ``None`` where anything but Linear layers and what acts on single numbers is inside.
    """
    layers = []
    for module in model.modules():
        if type(module) is nn.Linear:
            layers.append(module)
        elif type(module) not in ELEMENTWISE:
            return None
    if not layers:
        return None
    # Over a sequence, every layer holds its numbers at each position.
    positions = max(1, -(-numbers_each // layers[0].in_features))
    return numbers_each + positions * sum(layer.out_features for layer in layers)


class BatchSizes:
    """Examples that are read, and go through passes, at a time.

    On a processor matrix products alone gain from larger parts: of a small MLP, what Python does
    for each pass costs as much as the pass. A convolution loses up to 40%, because its outputs
    leave the cache. On a GPU every network gains whose batches leave it waiting for Python.

    Args:
        model: The model.
        plan: How its gradients are computed.
        batch_size: Examples in a pass where nothing is to be gained.
        numbers_each: Numbers in the input of one example.
        budget: What may be held at once.
        chain: The model, where it can go through several checkpoints at once.
        num_checkpoints: Checkpoints C that are on the device together.

    Attributes:
        full_pass: Examples in a forward and backward pass.
        forward: Examples in a forward pass alone.
        read: Examples read at once.
        checkpoints: Checkpoints that a forward pass goes through at once.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        batch_size: int,
        numbers_each: int,
        budget: Budget,
        chain: Chain | None = None,
        num_checkpoints: int = 1,
    ) -> None:
        on_device = plan.held_bytes > 0
        most = budget.numbers
        held = count_chain_numbers(model, numbers_each)
        if on_device:
            held = -(-plan.held_bytes // 4)
        joined = batch_size if held is None else max(batch_size, most // held)
        joins = not plan.fallback and (on_device or not plan.known)
        self.full_pass = joined if joins else batch_size
        self.forward = joined if plan.head is not None else batch_size
        self.checkpoints = 1
        each = numbers_each
        if chain is not None and held is not None:
            room = most // batch_size - numbers_each
            self.checkpoints = min(num_checkpoints, max(1, room // chain.widest))
            self.forward = most // (each + self.checkpoints * max(1, held - each))
            self.forward = max(batch_size, self.forward)
            each += self.checkpoints * chain.widest
        self.read = self.full_pass
        if plan.head is not None:
            # A head's forward pass can be so short that what is done around it costs as much,
            # so it is done for several batches at once, as many as have small inputs.
            self.read = batch_size * max(1, budget.inputs // max(1, each * batch_size))
