"""Plain PyTorch over the same batches: what any method that looks at every gradient must cost."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tracin_core import Checkpoint
from tracin_core.capture.channels_last import find_kernels

FORWARD, TRAINING = "plain forward", "plain forward + backward"
Run = Callable[[], object]


def run_forward(model: nn.Module, checkpoints: list[Checkpoint], batches: list[Tensor]) -> None:
    for checkpoint in checkpoints:
        model.load_state_dict(checkpoint.weights)
        with torch.no_grad():
            for inputs in batches:
                model(inputs)


def run_training(
    model: nn.Module, checkpoints: list[Checkpoint], batches: list[tuple[Tensor, ...]]
) -> None:
    for checkpoint in checkpoints:
        model.load_state_dict(checkpoint.weights)
        for inputs, targets in batches:
            model.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()


def make_floors(
    model: nn.Module,
    checkpoints: list[Checkpoint],
    batches: list[tuple[Tensor, ...]],
    large: list[tuple[Tensor, ...]],
) -> dict[str, Run]:
    """Return what is compared with; on a GPU also in other precisions and in larger batches.

    On a processor a convolutional network also trains with its channels last, as ours lays it out.

    Args:
        model: On the device, evaluating.
        checkpoints: Put in place one after the other.
        batches: Inputs and labels on the device, so that no floor waits for a transfer.
        large: The same in batches as large as ours are on a GPU.
    """
    inputs = [batch[0] for batch in batches]

    def forward() -> None:
        with float32("ieee"):
            run_forward(model, checkpoints, inputs)

    def training(precision: str = "ieee") -> None:
        with float32(precision):
            run_training(model, checkpoints, batches)

    def training_in_half() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            run_training(model, checkpoints, batches)

    def training_in_large() -> None:
        with float32("ieee"):
            run_training(model, checkpoints, large)

    floors: dict[str, Run] = {FORWARD: forward, TRAINING: training}
    if batches[0][0].device.type == "cpu" and find_kernels(model):
        placed = copy.deepcopy(model).to(memory_format=torch.channels_last)
        floors[f"{TRAINING}, channels last"] = lambda: run_training(placed, checkpoints, batches)
    if batches[0][0].device.type == "cuda":
        floors[f"{TRAINING}, TF32"] = lambda: training("tf32")
        floors[f"{TRAINING}, bfloat16"] = training_in_half
        floors[f"{TRAINING}, batches of {len(large[0][0]):,}"] = training_in_large
    return floors


@contextmanager
def float32(precision: str) -> Iterator[None]:
    """Compute float32 convolutions and products on a GPU in "ieee" precision or in "tf32"."""
    kinds: tuple[Any, ...] = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = precision
    try:
        yield
    finally:
        for kind, own in zip(kinds, before, strict=True):
            kind.fp32_precision = own
